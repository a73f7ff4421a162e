package dht

import (
	"fmt"
	"strings"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// However many and however long the addresses are that contacts claim, a list is
// short, and names each of them by an address.
func TestListsAreShort(t *testing.T) {
	h := newHandlers(t)
	for range routing.BucketSize {
		p := dhttest.PeerID(t)
		id := routing.IDFromPeer(p)
		c := routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true, Endpoint: "https://" + strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + ".example:9443"}
		for i := range 40 {
			c.Addrs = append(c.Addrs, ma.StringCast(fmt.Sprintf("/dns4/%s.%d.example/udp/9443/quic-v1", strings.Repeat("c", 50), i)))
		}
		require.NoError(t, h.Routing().Admit(c))
	}
	reply := h.HandleFindNode(&wire.FindNode{Target: []byte("k")}, server.LibP2P())
	require.LessOrEqual(t, len(dhttest.Frames(t, reply)), 16<<10)
	require.Len(t, reply.Nodes, routing.BucketSize)
	require.Len(t, reply.Nodes[0].Addrs, addressing.MaxContactAddrs)
	for _, n := range reply.Nodes {
		require.NotEmpty(t, n.Addrs)
		for _, a := range n.Addrs {
			require.LessOrEqual(t, len(a), 128)
		}
	}
}
