package maculadht

import (
	"net/netip"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

// Both sides know each other's IP group by their connection.
func TestIPGroupOfAConnection(t *testing.T) {
	everywhere := diversity.Defaults()
	everywhere.Everywhere = true
	a, b := dhttest.Host(t), dhttest.Host(t)
	sa := newService(t, a, WithRouting(routing.WithDiversity(everywhere)))
	sb := newService(t, b, WithRouting(routing.WithDiversity(everywhere)))
	dhttest.Connect(t, a, b)
	eventually(t, knows(sa, b), "admitted")
	eventually(t, knows(sb, a), "admitted")
	for s, other := range map[*Service]network.Network{sa: b.Network(), sb: a.Network()} {
		id := routing.IDFromPeer(other.LocalPeer())
		c, _ := s.Routing().Contact(id)
		require.Equal(t, netip.MustParseAddr("127.0.0.1"), c.SeenIP)
		group, known := s.Routing().GroupSeen(routing.Contact{Peer: other.LocalPeer(), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/udp/1")}})
		require.True(t, known)
		require.Equal(t, "127.0.0.0/24", group.String())
	}
}
