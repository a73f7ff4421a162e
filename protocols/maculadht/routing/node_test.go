package routing

import (
	"bytes"
	"math"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// What a peer says of when it saw others is a time, whatever number it is.
func TestContactFromNodeLastSeen(t *testing.T) {
	for name, lastSeen := range map[string]int64{"least": math.MinInt64, "before 1970": -1, "now": 1_700_000_000_000, "most": math.MaxInt64} {
		t.Run(name, func(t *testing.T) {
			c, ok := ContactFromNode(wire.Node{ID: []byte("node"), Address: "https://192.0.2.1:1", LastSeen: lastSeen})
			require.True(t, ok)
			_, err := c.LastSeen.UTC().MarshalText()
			require.NoError(t, err)
			require.GreaterOrEqual(t, c.LastSeen.UnixMilli(), int64(0))
		})
	}
}

// FuzzContactFromNode: whatever a reply names, a contact of a libp2p peer has that
// peer's id, and addresses that lead to no other.
func FuzzContactFromNode(f *testing.F) {
	p := peer.ID("\x00\x0e00000000000000")
	id := IDFromPeer(p)
	name, err := ma.NewComponent("p2p", p.String())
	if err != nil {
		f.Fatal(err)
	}
	full := ma.StringCast("/ip4/192.0.2.7/udp/9443/quic-v1").AppendComponent(name)
	f.Add(id[:], "https://192.0.2.7:9443", full.Bytes(), name.Multiaddr().Bytes())
	f.Add(id[:], "", []byte(full.String()), []byte{})
	f.Add([]byte("a name"), "https://gw.example.org:9443", []byte(nil), []byte{0xff})
	f.Add(id[:31], "", full.Bytes(), []byte("/p2p/nobody"))
	f.Fuzz(func(t *testing.T, nodeID []byte, address string, first, second []byte) {
		c, ok := ContactFromNode(wire.Node{ID: nodeID, Address: address, Addrs: [][]byte{first, second}})
		if !ok {
			return
		}
		if c.Verified {
			t.Fatal("verified by what a reply says")
		}
		if c.ID != IDFromBytes(nodeID) || !bytes.Equal(c.NodeID, nodeID) {
			t.Fatalf("node id %x became %x, %s", nodeID, c.NodeID, c.ID)
		}
		if c.IsErlang() {
			if c.Endpoint == "" || len(c.Addrs) > 0 {
				t.Fatalf("an Erlang node at %q, %v", c.Endpoint, c.Addrs)
			}
			return
		}
		if c.ID != IDFromPeer(c.Peer) {
			t.Fatalf("%s is not the id of %s", c.ID, c.Peer)
		}
		for _, a := range c.Addrs {
			if _, named := peer.SplitAddr(a); named != "" || len(a) == 0 {
				t.Fatalf("address %v of %s", a, c.Peer)
			}
		}
	})
}
