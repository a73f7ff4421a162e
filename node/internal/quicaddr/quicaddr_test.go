package quicaddr

import (
	"strings"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

func TestParseListenAddr(t *testing.T) {
	for _, good := range []string{
		"/ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/192.0.2.1/udp/0/quic-v1",
		"/ip6/::/udp/9443/quic-v1",
		"/ip6/2001:db8::1/udp/1/quic-v1",
	} {
		addr, err := ParseListen(good)
		require.NoError(t, err)
		require.Equal(t, good, addr.String())
	}
	for bad, advice := range map[string]string{
		"":                                       "write for example /ip4/0.0.0.0/udp/9443/quic-v1",
		"0.0.0.0:9443":                           "write for example /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/256.0.0.1/udp/1/quic-v1":           "write for example /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/0.0.0.0/tcp/9443":                  "is not a QUIC address: write /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/192.0.2.1/tcp/4001":                "write /ip4/192.0.2.1/udp/4001/quic-v1",
		"/ip6/::/udp/4001":                       "write /ip6/::/udp/4001/quic-v1",
		"/ip4/0.0.0.0":                           "write /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/0.0.0.0/udp/1/quic-v1/p2p-circuit": "write /ip4/0.0.0.0/udp/1/quic-v1",
		"/ip4/0.0.0.0/udp/1/quic-v1/webtransport": "write /ip4/0.0.0.0/udp/1/quic-v1",
		"/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1": "write /ip6/fe80::1/udp/1/quic-v1",
		"/dns4/example.org/udp/9443/quic-v1":      "write /ip4/0.0.0.0/udp/9443/quic-v1",
		"/p2p-circuit":                            "write /ip4/0.0.0.0/udp/9443/quic-v1",
	} {
		_, err := ParseListen(bad)
		require.ErrorContains(t, err, advice, bad)
		require.ErrorContains(t, err, bad)
	}
}

func TestDefaultListenAddrs(t *testing.T) {
	require.Equal(t, []ma.Multiaddr{
		ma.StringCast("/ip4/0.0.0.0/udp/9443/quic-v1"),
		ma.StringCast("/ip6/::/udp/9443/quic-v1"),
	}, Any(endpoints.DefaultPort))
	for _, addr := range Any(endpoints.DefaultPort) {
		_, err := ParseListen(addr.String())
		require.NoError(t, err)
	}
}

func TestEndpoints(t *testing.T) {
	require.Empty(t, Endpoints(nil))
	require.Equal(t, []string{
		"https://8.8.8.8:9443",
		"https://1.1.1.1:9443",
		"https://[2606:4700::1111]:9443",
		"https://192.168.1.5:9443",
		"https://[fd00::5]:9443",
		"https://127.0.0.1:9443",
		"https://[::1]:9443",
	}, Endpoints(multiaddrs(
		"/ip6/::1/udp/9443/quic-v1",
		"/ip4/127.0.0.1/udp/9443/quic-v1",
		"/ip6/fd00::5/udp/9443/quic-v1",
		"/ip4/192.168.1.5/udp/9443/quic-v1",
		"/ip6/2606:4700::1111/udp/9443/quic-v1",
		"/ip4/8.8.8.8/udp/9443/quic-v1",
		"/ip4/1.1.1.1/udp/9443/quic-v1",
		"/ip4/8.8.8.8/udp/9443/quic-v1",        // again
		"/ip6/::ffff:1.1.1.1/udp/9443/quic-v1", // again, in IPv6's clothes
		"/ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip6/::/udp/9443/quic-v1",
		"/ip4/9.9.9.9/udp/0/quic-v1",
		"/ip4/9.9.9.9/tcp/9443",
		"/ip4/9.9.9.9/udp/9443",
		"/ip4/9.9.9.9/udp/9443/quic-v1/webtransport",
		"/ip4/9.9.9.9/udp/9443/quic-v1/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt/p2p-circuit",
		"/dns4/example.org/udp/9443/quic-v1",
		"/ip6/fe80::1/udp/9443/quic-v1",
		"/ip6zone/eth0/ip6/fe80::1/udp/9443/quic-v1",
		"/ip4/224.0.0.1/udp/9443/quic-v1",
	)))
}

func TestBestEndpoint(t *testing.T) {
	public, private, wildcard := "/ip4/8.8.8.8/udp/4001/quic-v1", "/ip4/10.0.0.2/udp/9443/quic-v1", "/ip4/0.0.0.0/udp/9443/quic-v1"
	for name, test := range map[string]struct {
		hostname         string
		confirmed, addrs []ma.Multiaddr
		want             string
		announced        []string
	}{
		"hostname first":               {"node.example.org", multiaddrs(public), multiaddrs(private), "https://node.example.org:9443", []string{public}},
		"then announced":               {"", multiaddrs("/ip4/1.1.1.1/udp/9443/quic-v1"), multiaddrs(private), "https://192.0.2.7:19443", []string{"/ip4/192.0.2.7/udp/19443/quic-v1", public}},
		"announced by name":            {"", nil, nil, "https://node.example.org:4001", []string{"/dns4/node.example.org/udp/4001/quic-v1"}},
		"then confirmed":               {"", multiaddrs(public), multiaddrs(private, "/ip4/1.1.1.1/udp/9443/quic-v1"), "https://8.8.8.8:4001", nil},
		"confirmed must be public":     {"", multiaddrs("/ip4/10.9.9.9/udp/1/quic-v1"), multiaddrs(private), "https://10.0.0.2:9443", nil},
		"confirmed must be plain QUIC": {"", multiaddrs("/ip4/8.8.8.8/udp/1/quic-v1/webtransport"), multiaddrs(private), "https://10.0.0.2:9443", nil},
		"then an interface":            {"", nil, multiaddrs("/ip4/127.0.0.1/udp/9443/quic-v1", private), "https://10.0.0.2:9443", nil},
		"loopback at last":             {"", nil, multiaddrs("/ip4/127.0.0.1/udp/9443/quic-v1", wildcard), "https://127.0.0.1:9443", nil},
		"never a wildcard":             {"", multiaddrs(wildcard), multiaddrs(wildcard, "/ip6/::/udp/9443/quic-v1"), "", nil},
		"none":                         {"", nil, nil, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			confirmed := append([]ma.Multiaddr(nil), test.confirmed...)
			var announced []Announced
			for _, text := range test.announced {
				a, err := ParseAnnounced(text)
				require.NoError(t, err)
				announced = append(announced, a)
			}
			got, err := BestEndpoint(test.hostname, endpoints.DefaultPort, announced, test.confirmed, test.addrs)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
			require.Equal(t, confirmed, append([]ma.Multiaddr(nil), test.confirmed...), "the caller's list is left alone")
		})
	}
	_, err := BestEndpoint("0.0.0.0", endpoints.DefaultPort, nil, multiaddrs(public), nil)
	require.ErrorContains(t, err, "wildcard", "a wrong hostname is not passed over in silence")
}

func TestHostnameEndpoint(t *testing.T) {
	for hostname, want := range map[string]string{
		"node.example.org":      "https://node.example.org:9443",
		"node.example.org:4001": "https://node.example.org:4001",
		"my_node-1":             "https://my_node-1:9443",
		"192.0.2.1":             "https://192.0.2.1:9443",
		"192.0.2.1:80":          "https://192.0.2.1:80",
		"2001:db8::1":           "https://[2001:db8::1]:9443",
		"[2001:db8::1]":         "https://[2001:db8::1]:9443",
		"[2001:db8::1]:4001":    "https://[2001:db8::1]:4001",
		"3com.example":          "https://3com.example:9443",
		"Node.Example.ORG":      "https://node.example.org:9443", // or its own gateway would seem another
		"::ffff:192.0.2.1":      "https://192.0.2.1:9443",
	} {
		got, err := HostnameEndpoint(hostname, endpoints.DefaultPort)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for hostname, want := range map[string]string{
		"https://node.example.org":        "without https://",
		"node.example.org/path":           "without a path",
		"0.0.0.0":                         "wildcard",
		"0.0.0.0:9443":                    "wildcard",
		"::":                              "wildcard",
		"[::]:9443":                       "wildcard",
		"::ffff:0.0.0.0":                  "wildcard",
		"fe80::1%eth0":                    "zone",
		"[fe80::1%eth0]:9443":             "zone",
		"256.1.1.1":                       "neither a DNS name nor an IP address",
		"1.2.3":                           "neither a DNS name nor an IP address",
		"two words":                       "neither a DNS name nor an IP address",
		"-node":                           "neither a DNS name nor an IP address",
		"a..b":                            "neither a DNS name nor an IP address",
		"[]":                              "neither a DNS name nor an IP address",
		":9443":                           "neither a DNS name nor an IP address",
		"nöde.example":                    "neither a DNS name nor an IP address",
		"2001:db8::1::2":                  "[2001:db8::1]:9443",
		"node:":                           "has the port",
		"node:http":                       `has the port "http"`,
		"node:0":                          "has the port 0",
		"node:65536":                      "has the port 65536",
		strings.Repeat("a.", 130) + "org": "at most 255",
	} {
		_, err := HostnameEndpoint(hostname, endpoints.DefaultPort)
		require.ErrorContains(t, err, want, hostname)
		require.ErrorContains(t, err, hostname)
	}
	_, err := HostnameEndpoint("node.example.org", 0)
	require.ErrorContains(t, err, "has the port 0")
}

func TestAnyBeyondLoopback(t *testing.T) {
	tests := []struct {
		name   string
		listen []string
		want   bool
	}{
		{"none", nil, false},
		{"loopback", []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, false},
		{"another of loopback", []string{"/ip4/127.8.9.10/udp/1/quic-v1"}, false},
		{"both loopbacks", []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::1/udp/0/quic-v1"}, false},
		{"all addresses", []string{"/ip4/0.0.0.0/udp/9443/quic-v1"}, true},
		{"all addresses of IPv6", []string{"/ip6/::/udp/9443/quic-v1"}, true},
		{"a private one", []string{"/ip4/192.168.1.2/udp/9443/quic-v1"}, true},
		{"loopback and a public one", []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/9.9.9.9/udp/9443/quic-v1"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var addrs []ma.Multiaddr
			for _, text := range test.listen {
				addrs = append(addrs, ma.StringCast(text))
			}
			require.Equal(t, test.want, BeyondLoopback(addrs))
		})
	}
	require.True(t, BeyondLoopback(Any(endpoints.DefaultPort)))
}

func TestIsLoopbackName(t *testing.T) {
	for name, want := range map[string]bool{
		"": false, "node.example.org": false, "192.0.2.7:9443": false, "localhost.example.org": false, "2001:db8::1": false,
		"localhost": true, "LocalHost.": true, "localhost:9443": true, "a.localhost": true, "127.0.0.2": true, "127.0.0.1:1": true, "::1": true, "[::1]:9443": true,
	} {
		require.Equal(t, want, IsLoopbackName(name), name)
	}
}

func multiaddrs(texts ...string) []ma.Multiaddr {
	var addrs []ma.Multiaddr
	for _, text := range texts {
		addrs = append(addrs, ma.StringCast(text))
	}
	return addrs
}

func TestParseAnnounced(t *testing.T) {
	const id = "12D3KooWEn3KXGXEAzdQGFPH3JsoUTyHtS5TK5YKozKs1xJ8cUx1"
	for text, want := range map[string][2]string{ // the endpoint and the peer id; or what is wrong
		"/ip4/203.0.113.7/udp/9443/quic-v1":                {"https://203.0.113.7:9443", ""},
		"/ip6/2001:db8::7/udp/9443/quic-v1":                {"https://[2001:db8::7]:9443", ""},
		"/dns/node.example.org/udp/443/quic-v1":            {"https://node.example.org:443", ""},
		"/dns6/node.example.org/udp/443/quic-v1/p2p/" + id: {"https://node.example.org:443", id},
		"/ip4/0.0.0.0/udp/9443/quic-v1":                    {},
		"/ip4/203.0.113.7/udp/0/quic-v1":                   {},
		"/dns4/node.example.org/udp/0/quic-v1":             {},
		"/dns4/not a name/udp/1/quic-v1":                   {},
		"/dnsaddr/example.org":                             {},
		"/ip4/203.0.113.7/tcp/9443":                        {},
		"/p2p/" + id:                                       {},
		"203.0.113.7:9443":                                 {},
		"":                                                 {},
	} {
		a, err := ParseAnnounced(text)
		if want[0] == "" {
			require.ErrorContains(t, err, "write for example /ip4/203.0.113.7/udp/9443/quic-v1", text)
			continue
		}
		require.NoError(t, err, text)
		endpoint, ok := a.Endpoint()
		require.True(t, ok)
		require.Equal(t, want[0], endpoint)
		require.Equal(t, want[1], a.As.String())
	}
}
