package quicaddr

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// FuzzListen: an address to listen on is a plain QUIC one, however it is written.
func FuzzListen(f *testing.F) {
	for _, text := range []string{"/ip4/0.0.0.0/udp/9443/quic-v1", "/ip6/::/udp/0/quic-v1", "/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1", "/dns4/a/udp/1/quic-v1", "/ip4/1.2.3.4/udp/1/quic-v1/webtransport", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, err := ParseListen(text)
		if err != nil {
			require.Nil(t, addr)
			return
		}
		ap, ok := AddrPort(addr)
		require.True(t, ok)
		require.True(t, ap.IsValid())
		again, err := ParseListen(addr.String())
		require.NoError(t, err)
		require.True(t, addr.Equal(again))
		for _, e := range Endpoints(append(Any(1), addr)) {
			_, err := endpoints.Parse(e)
			require.NoError(t, err)
		}
	})
}

// FuzzHostname: a hostname makes an endpoint that others can read, or is refused.
func FuzzHostname(f *testing.F) {
	for _, text := range []string{"node.example.org", "node.example.org:9444", "192.0.2.7", "[2001:db8::1]:9443", "2001:db8::1", "[::1]", "localhost", "a.localhost.", "::ffff:0.0.0.0", "fe80::1%eth0", "https://a", "a:0", "a_b", "", ":1", "[", "[]"} {
		f.Add(text, 9443)
	}
	f.Fuzz(func(t *testing.T, hostname string, port int) {
		IsLoopbackName(hostname)
		endpoint, err := HostnameEndpoint(hostname, port)
		if err != nil {
			require.Empty(t, endpoint)
			return
		}
		e, err := endpoints.Parse(endpoint)
		require.NoError(t, err)
		require.Equal(t, endpoint, e.String())
		require.NotZero(t, e.Port)
	})
}
