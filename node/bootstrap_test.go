package node

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestParseBootstrap(t *testing.T) {
	const p = "/p2p/12D3KooWEn3KXGXEAzdQGFPH3JsoUTyHtS5TK5YKozKs1xJ8cUx1"
	const relay = "/p2p/12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9DSUoU"
	for text, want := range map[string]string{ // a part of the error, nothing where it is accepted
		"/ip4/192.0.2.7/udp/9443/quic-v1" + p:                          "",
		"/ip6/2001:db8::7/udp/9443/quic-v1" + p:                        "",
		"/ip6zone/eth0/ip6/fe80::1/udp/9443/quic-v1" + p:               "",
		"/dns4/boot.example.org/udp/9443/quic-v1" + p:                  "",
		"/dnsaddr/boot.example.org" + p:                                "",
		"/ip4/192.0.2.7/udp/9443/quic-v1" + relay + "/p2p-circuit" + p: "",
		"/dnsaddr/relay.example.org" + relay + "/p2p-circuit" + p:      "",
		relay + "/p2p-circuit" + p:                                     "",
		"https://gw.example.org:9443":                                  "",
		"/ip4/192.0.2.7/tcp/4001" + p:                                  "not a QUIC address",
		"/ip4/192.0.2.7/udp/9443/quic" + p:                             "not a QUIC address",
		"/ip4/192.0.2.7/udp/0/quic-v1" + p:                             "not a QUIC address",
		"/ip4/192.0.2.7/udp/9443/quic-v1/webtransport" + p:             "not a QUIC address",
		"/dns4/boot.example.org/tcp/443/wss" + p:                       "not a QUIC address",
		"/ip4/192.0.2.7/tcp/4001" + relay + "/p2p-circuit" + p:         "not a QUIC address",
		"/dns4/boot.example.org" + p:                                   "not a QUIC address",
		"/dnsaddr/boot.example.org/tcp/4001" + p:                       "not a QUIC address",
		p:                                                              "does not say where the peer is",
		"/ip4/192.0.2.7/udp/9443/quic-v1":                              "does not say who is there",
		"/nonsense":                                                    "is not a multiaddr",
		"gw.example.org":                                               "neither a multiaddr with /p2p nor an endpoint",
		"https://gw.example.org:0":                                     "neither a multiaddr with /p2p nor an endpoint",
	} {
		entry, err := ParseBootstrap(text)
		if want == "" {
			require.NoError(t, err, text)
			require.Equal(t, text[0] == '/', entry.Peer != nil)
			continue
		}
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, text)
	}
}

func TestLocalAddrs(t *testing.T) {
	n := startNode(t, func(c *Config) {
		c.Listen = []string{"/ip4/0.0.0.0/udp/0/quic-v1"}
		c.NoPortMapping = true
	})
	addrs := n.LocalAddrs()
	require.Len(t, addrs, 1)
	require.Regexp(t, `^/ip4/127\.0\.0\.1/udp/[1-9][0-9]*/quic-v1/p2p/`+n.Host().ID().String()+"$", addrs[0].String())
	require.Regexp(t, `^https://127\.0\.0\.1:[1-9][0-9]*$`, n.LocalEndpoint().String())
	require.False(t, n.LocalEndpoint().Pin.IsZero())
}

func TestBootstrapOfBothKinds(t *testing.T) {
	pin := "sha256=" + string(bytes.Repeat([]byte("0f"), 32))
	peerAddr := "/ip6/2001:db8::1/udp/9443/quic-v1/p2p/" + peerOf(t, newKey(t)).String()
	s, err := Config{Key: newKey(t), Bootstrap: []string{
		"https://[2001:db8::7]:4433", peerAddr, "https://gw.example.org", "https://GW.example.org:9443#" + pin, "https://gw.example.org",
	}}.check()
	require.NoError(t, err)
	require.Len(t, s.bootstrap, 1)
	require.Len(t, s.gateways, 2, "each host and port once")
	require.Equal(t, "https://[2001:db8::7]:4433", s.gateways[0].String())
	require.Equal(t, "https://gw.example.org:9443", s.gateways[1].String())
	require.Equal(t, pin, s.gateways[1].Pin.String())

	for text, want := range map[string]string{
		"https://gw.example.org#sha256=00": "no pin",
		"http://gw.example.org":            "does not begin with https://",
		"gw.example.org:9443":              "neither a multiaddr with /p2p nor an endpoint",
		"https://gw.example.org#sha256=" + string(bytes.Repeat([]byte("1f"), 32)): "two pins",
	} {
		_, err := Config{Key: newKey(t), Bootstrap: []string{"https://gw.example.org#" + pin, text}}.check()
		require.ErrorContains(t, err, "bootstrap address")
		require.ErrorContains(t, err, want)
	}
}

// The pin of a bootstrap gateway holds for whoever names that gateway.
func TestPinOfBootstrapGateway(t *testing.T) {
	dir := t.TempDir()
	gateway := startNode(t, func(c *Config) { c.DataDir = dir })
	kept, err := credentials.Credentials{}.Certificate("", dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	pin := identity.PinOf(kept.Leaf)
	other := pin
	other[0]++
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, test := range []struct {
		pin  identity.Pin
		want error
	}{{pin, nil}, {other, identity.ErrCertificate}} {
		n := startNode(t, func(c *Config) { c.Bootstrap = []string{gateway.Endpoint() + "#" + test.pin.String()} })
		_, err := client.Ping(ctx, n.Dialer(), routing.Contact{Endpoint: gateway.Endpoint()})
		require.ErrorIs(t, err, test.want)
	}
}
