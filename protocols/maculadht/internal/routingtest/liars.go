package routingtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// liarTries is how many ids each liar has tried to be near its key.
const liarTries = 3000

// Band is some liars.
type Band struct {
	Size       int
	OneAddress bool // all are at one, else each is in a network of its own
	Decoys     bool // each has a value of its own making under each key, else nothing
}

// Beset puts liars around a key, and has every node meet them. They name each other
// alone, and say that they keep what they are given.
func (s *Sim) Beset(key routing.ID, of Band, rng *rand.Rand) []*SimNode {
	n := of.Size
	type try struct {
		name peer.ID
		id   routing.ID
	}
	var tries []try
	for i := range n * liarTries {
		name := peer.ID(fmt.Sprintf("\x00\x18liar-%08x-%010d", rng.Uint32(), i))
		tries = append(tries, try{name, routing.IDFromPeer(name)})
		if len(tries) >= 4*n || i == n*liarTries-1 { // the nearest so far
			slices.SortFunc(tries, func(a, b try) int { return key.CompareDistance(a.id, b.id) })
			tries = tries[:n]
		}
	}
	var band []*SimNode
	for i, try := range tries {
		addr := "/ip4/30.0.0.1"
		if !of.OneAddress {
			addr = fmt.Sprintf("/ip4/30.%d.%d.1", 1+i, rng.IntN(256))
		}
		band = append(band, newLiar(s.T, try.name, fmt.Sprintf("%s/udp/%d/quic-v1", addr, 1000+i)))
	}
	honest := slices.Clone(s.Live)
	for _, liar := range band {
		liar.band, liar.decoys = band, of.Decoys
		s.Add(liar)
		for _, node := range honest {
			s.Greet(node, liar)
		}
	}
	return band
}

// Relieve takes liars out of the network, and out of all tables.
func (s *Sim) Relieve(band []*SimNode) {
	for _, liar := range band {
		s.Kill(liar)
		for _, node := range s.Live {
			node.Server.Forget(liar.Contact.ID)
		}
		liar.close()
		s.mu.Lock()
		delete(s.nodes, liar.Contact.ID)
		s.mu.Unlock()
	}
}

func newLiar(t testing.TB, name peer.ID, addr string) *SimNode {
	liar := newSimNode(t, name)
	liar.kind = lying
	a, err := ma.NewMultiaddr(addr)
	require.NoError(t, err)
	c := liar.Contact
	c.Addrs = []ma.Multiaddr{a}
	liar.at.Store(&simAddr{addr: a, node: Node(c)})
	return liar
}

// lie is what a liar answers.
func (n *SimNode) lie(m wire.Message) wire.Message {
	var target []byte
	switch m := m.(type) {
	case *wire.FindNode:
		target = m.Target
	case *wire.FindValue:
		target = m.Key
	case *wire.Call:
		return &wire.Reply{CallID: m.CallID, Result: wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText("ok")})}
	default:
		return &wire.Pong{}
	}
	id := routing.IDFromBytes(target)
	near := slices.DeleteFunc(slices.Clone(n.band), func(o *SimNode) bool { return o == n })
	slices.SortFunc(near, func(a, b *SimNode) int { return id.CompareDistance(a.Contact.ID, b.Contact.ID) })
	var nodes []wire.Node
	for _, o := range near[:min(len(near), routing.BucketSize)] {
		nodes = append(nodes, o.at.Load().node)
	}
	if _, isValue := m.(*wire.FindValue); isValue {
		if n.decoys {
			return &wire.FindValueReply{Values: []wire.Raw{ValueOf("decoy of "+n.Contact.ID.String(), 24*time.Hour)}}
		}
		return &wire.FindValueReply{Nodes: nodes}
	}
	return &wire.FindNodeReply{Nodes: nodes}
}
