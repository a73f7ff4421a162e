package maculadht

import (
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func TestLearntEndpoint(t *testing.T) {
	const (
		public   = "/ip4/8.8.8.8/udp/9443/quic-v1"
		private  = "/ip4/10.0.0.1/udp/9443/quic-v1"
		loopback = "/ip4/127.0.0.1/udp/9443/quic-v1"
	)
	for name, test := range map[string]struct {
		endpoint, seenAt string
		kept             bool
	}{
		"public from public":             {"https://1.1.1.1:9443", public, true},
		"private from public":            {"https://10.0.0.2:9443", public, false},
		"loopback from public":           {"https://127.0.0.1:9443", public, false},
		"mapped loopback from public":    {"https://[::ffff:127.0.0.1]:9443", public, false},
		"IPv6 loopback from private":     {"https://[::1]:9443", private, false},
		"private from private":           {"https://10.0.0.2:9443", private, true},
		"loopback from private":          {"https://127.0.0.1:9443", private, false},
		"loopback from loopback":         {"https://127.0.0.1:9443", loopback, true},
		"private through a public relay": {"https://10.0.0.2:9443", public + "/p2p-circuit", false},
		"a name":                         {"https://node.example.org:9443", public, true},
		"none":                           {"", public, true},
		"nonsense":                       {"://", public, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if test.kept {
				want = test.endpoint
			}
			require.Equal(t, want, learntEndpoint(test.endpoint, ma.StringCast(test.seenAt)))
		})
	}
}

func TestIsAt(t *testing.T) {
	tests := map[string]struct {
		endpoint, seenAt string
		want             bool
	}{
		"its own address":              {"https://192.0.2.7:9443", "/ip4/192.0.2.7/udp/1/quic-v1", true},
		"written as IPv6":              {"https://[::ffff:192.0.2.7]:9443", "/ip4/192.0.2.7/udp/1/quic-v1", true},
		"an IPv6 one":                  {"https://[2001:db8::7]:9443", "/ip6/2001:db8::7/udp/1/quic-v1", true},
		"another address":              {"https://192.0.2.8:9443", "/ip4/192.0.2.7/udp/1/quic-v1", false},
		"a name, which may be another": {"https://node.example.org:9443", "/ip4/192.0.2.7/udp/1/quic-v1", false},
		"through a relay":              {"https://192.0.2.7:9443", "/ip4/192.0.2.7/udp/1/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit", false},
		"nothing":                      {"", "/ip4/192.0.2.7/udp/1/quic-v1", false},
		"nonsense":                     {"https://[", "/ip4/192.0.2.7/udp/1/quic-v1", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, isAt(test.endpoint, ma.StringCast(test.seenAt)))
		})
	}
}

// A peer does not have Erlang nodes, which dial what they are told of, sent to
// somebody else.
func TestGatewaysOfPeersAreWhereTheyWereSeen(t *testing.T) {
	tests := map[string]struct {
		endpoint string
		listed   bool
	}{
		"at its own address": {"https://127.0.0.1:9443", true},
		"at somebody else's": {"https://127.0.0.9:9443", false},
		"at a name":          {"https://victim.example.org:9443", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newService(t, dhttest.Host(t))
			h := dhttest.Host(t)
			newService(t, h, WithHandlers(server.WithEndpoint(func() string { return test.endpoint })))
			dhttest.Connect(t, h, s.host)
			eventually(t, knows(s, h), "admitted")
			c, _ := s.Routing().Contact(routing.IDFromPeer(h.ID()))
			require.Equal(t, test.endpoint, c.Endpoint, "it is kept, and told to libp2p peers")

			list, err := client.ListGateways(dhttest.Context(t), newClient(t, dhttest.Host(t)), dhttest.Contact(s.host))
			require.NoError(t, err)
			require.Equal(t, test.listed, len(list) == 1, list)
		})
	}
}
