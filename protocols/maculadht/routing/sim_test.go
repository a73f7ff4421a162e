package routing

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// behaviour is what a simulated node does when it is asked.
type behaviour uint8

const (
	honest behaviour = iota
	silent
	rubbish
)

// simNode is a node of a simulated network: a real server behind it.
type simNode struct {
	contact Contact
	node    wire.Node // as others list it
	server  *Server
	kind    behaviour
	dead    atomic.Bool
	load    atomic.Int64 // how often it was asked
	place   int          // in sim.live
}

// newSimNode returns a node with the name, which decides its id.
func newSimNode(t testing.TB, name string) *simNode {
	p := peer.ID("\x00" + string(rune(len(name))) + name) // an identity multihash
	id := IDFromPeer(p)
	kept, err := records.New(records.WithSweepInterval(1000 * time.Hour))
	require.NoError(t, err)
	server, err := NewServer(id, WithRecords(kept))
	require.NoError(t, err)
	addr, err := ma.NewComponent("p2p", p.String())
	require.NoError(t, err)
	return &simNode{
		contact: Contact{ID: id, NodeID: id[:], Peer: p, Verified: true},
		node:    wire.Node{ID: id[:], Addrs: [][]byte{addr.Multiaddr().Bytes()}},
		server:  server,
	}
}

// sim is a network in memory: latencies in virtual time, the rest is real.
type sim struct {
	t      testing.TB
	upkeep bool // who speak to each other become contacts
	greets bool // as with upkeep, but what follows of that is left to them

	mu    sync.RWMutex
	nodes map[ID]*simNode
	live  []*simNode
}

// newSim returns n nodes whose tables hold what an ideal upkeep would give:
// BucketSize random nodes of each bucket.
func newSim(t testing.TB, n int, rng *rand.Rand) *sim {
	s := &sim{t: t, nodes: make(map[ID]*simNode, n)}
	for i := range n {
		s.add(newSimNode(t, fmt.Sprint("sim-", rng.Uint32(), "-", i)))
	}
	sorted := slices.Clone(s.live)
	slices.SortFunc(sorted, func(a, b *simNode) int { return slices.Compare(a.contact.ID[:], b.contact.ID[:]) })
	for _, node := range s.live {
		fillTable(node, sorted, rng)
	}
	return s
}

// fillTable gives a node its contacts, of nodes that are sorted by id.
func fillTable(node *simNode, sorted []*simNode, rng *rand.Rand) {
	self := node.contact.ID
	for bit := 0; bit < IDBits && len(sorted) > 1; bit++ {
		half, _ := slices.BinarySearchFunc(sorted, true, func(o *simNode, _ bool) int {
			if o.contact.ID.bit(bit) {
				return 0
			}
			return -1
		})
		mine, others := sorted[half:], sorted[:half]
		if !self.bit(bit) {
			mine, others = others, mine
		}
		for _, i := range sample(rng, len(others), BucketSize) {
			node.server.table.Add(others[i].contact)
		}
		sorted = mine
	}
}

// sample returns up to k different numbers below n.
func sample(rng *rand.Rand, n, k int) []int {
	if n <= 4*k {
		return rng.Perm(n)[:min(n, k)]
	}
	var picked []int
	for len(picked) < k {
		if i := rng.IntN(n); !slices.Contains(picked, i) {
			picked = append(picked, i)
		}
	}
	return picked
}

func (s *sim) close() {
	for _, node := range s.nodes {
		node.server.Close()
		node.server.Records().Close()
	}
}

func (s *sim) add(node *simNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node.place = len(s.live)
	s.live = append(s.live, node)
	s.nodes[node.contact.ID] = node
}

// kill takes a node out of the network. Others are not told.
func (s *sim) kill(node *simNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node.dead.Store(true)
	last := s.live[len(s.live)-1]
	s.live[node.place], last.place = last, node.place
	s.live = s.live[:len(s.live)-1]
}

func (s *sim) get(id ID) *simNode {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.nodes[id]
}

// random returns a node that lives and is honest.
func (s *sim) random(rng *rand.Rand) *simNode {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for {
		if node := s.live[rng.IntN(len(s.live))]; node.kind == honest {
			return node
		}
	}
}

// nearest returns the n live nodes nearest to the target but one.
func (s *sim) nearest(target ID, n int, but *simNode) []Contact {
	s.mu.RLock()
	defer s.mu.RUnlock()
	near := nearest{target: target, limit: n}
	for _, node := range s.live {
		if node != but {
			near.offer(&node.contact)
		}
	}
	return near.contacts()
}

// isNearest reports whether what a node found are the nodes nearest to the target;
// of those, where some are malicious, at least all that are honest.
func (s *sim) isNearest(found []Contact, target ID, from *simNode) bool {
	want := s.nearest(target, BucketSize, from)
	var honests []ID
	for _, c := range want {
		if s.get(c.ID).kind == honest {
			honests = append(honests, c.ID)
		}
	}
	if len(honests) == len(want) {
		return slices.Equal(ids(found), honests)
	}
	return !slices.ContainsFunc(honests, func(id ID) bool { return !slices.Contains(ids(found), id) })
}

// corrupt makes n nodes malicious, every other one silent.
func (s *sim) corrupt(n int, rng *rand.Rand) {
	for i := range n {
		s.random(rng).kind = []behaviour{silent, rubbish}[i%2]
	}
}

// store keeps a value where an ideal replication would, and returns its key.
func (s *sim) store(key []byte) {
	value := simValue(string(key), time.Hour*24)
	for _, c := range s.nearest(IDFromBytes(key), BucketSize, nil) {
		v, err := wire.ParseValue(value)
		require.NoError(s.t, err)
		require.NoError(s.t, s.get(c.ID).server.Records().Store(context.Background(), records.Put{Key: key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
	}
}

func simValue(provider string, ttl time.Duration) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(provider))},
		wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))},
	)
}

// simNetwork is the network as one node sees it.
type simNetwork struct {
	*sim
	from *simNode
	sent atomic.Int64
}

func (s *sim) network(from *simNode) *simNetwork { return &simNetwork{sim: s, from: from} }

func (n *simNetwork) Send(context.Context, Contact, wire.Message) error { return nil }

func (n *simNetwork) Query(ctx context.Context, to Contact, m wire.Message) (wire.Message, error) {
	n.sent.Add(1)
	node := n.get(to.ID)
	if node == nil || node.dead.Load() || node.kind == silent {
		<-ctx.Done()
		return nil, proto.ErrUnreachable
	}
	node.load.Add(1)
	timer := time.NewTimer(roundTrip(n.from.contact.ID, to.ID))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if n.greets {
		n.greet(node, n.from)
		n.greet(n.from, node)
	}
	if n.upkeep {
		n.meet(node, n.from)
		n.meet(n.from, node)
	}
	if node.kind == rubbish {
		return n.rubbish(node, m), nil
	}
	return n.answer(node, m), nil
}

// roundTrip is 20 to 150 ms, always the same between two nodes.
func roundTrip(a, b ID) time.Duration {
	d := a.Distance(b)
	return 20*time.Millisecond + time.Duration(uint32(d[28])<<16|uint32(d[29])<<8|uint32(d[30]))*130*time.Millisecond/(1<<24)
}

// meet has a node take another in as a contact. A full bucket pings its oldest,
// and replaces it if it is dead.
func (s *sim) meet(node, other *simNode) {
	t := node.server.table
	if t.Add(other.contact) != ErrBucketFull {
		return
	}
	t.mu.RLock()
	oldest := (*t.buckets.in(other.contact.ID))[0].ID
	t.mu.RUnlock()
	if s.get(oldest).dead.Load() {
		t.Remove(oldest)
		t.Add(other.contact)
	} else {
		t.Alive(oldest, time.Now())
	}
}

// greet has a node admit another, which has just spoken to it.
func (s *sim) greet(node, other *simNode) {
	c := other.contact
	c.LastSeen = time.Now()
	_ = node.server.Admit(c) // the bucket may be full
}

func (n *simNetwork) answer(node *simNode, m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.FindNode:
		return &wire.FindNodeReply{Nodes: n.listed(node.server.FindNode(m.Target))}
	case *wire.FindValue:
		reply := &wire.FindValueReply{}
		found, err := node.server.Records().Values(context.Background(), m.Key)
		if err != nil {
			reply.Nodes = n.listed(node.server.FindNode(m.Key))
		}
		for i := range found {
			reply.Values = append(reply.Values, found[i].Value)
			reply.ExpiresIn = append(reply.ExpiresIn, int64(time.Until(found[i].Expires)/time.Second))
		}
		return reply
	case *wire.Ping:
		return &wire.Pong{}
	case *wire.Call:
		n.keep(node, m)
		return &wire.Reply{CallID: m.CallID}
	}
	return nil
}

// keep is what a node does with _dht.store.
func (n *simNetwork) keep(node *simNode, m *wire.Call) {
	var args wire.StoreArgs
	require.NoError(n.t, args.Decode(m.Args))
	v, err := wire.ParseValue(args.Value)
	require.NoError(n.t, err)
	require.NoError(n.t, node.server.Records().Store(context.Background(), records.Put{
		Key: args.Key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL, ExpiresIn: time.Duration(args.ExpiresIn.V) * time.Second,
		From: n.from.contact.NodeID, Source: records.Source{Name: n.from.contact.ID.String()},
	}))
}

func (n *simNetwork) listed(contacts []Contact) []wire.Node {
	nodes := make([]wire.Node, len(contacts))
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range contacts {
		nodes[i] = n.nodes[contacts[i].ID].node
	}
	return nodes
}

// rubbish is what a malicious node answers, each in its own way.
func (n *simNetwork) rubbish(node *simNode, m wire.Message) wire.Message {
	var target []byte
	var values []wire.Raw
	var nodes []wire.Node
	find, isValue := m.(*wire.FindValue)
	if isValue {
		target = find.Key
	} else {
		target = m.(*wire.FindNode).Target
	}
	d := node.contact.ID.Distance(IDFromBytes(target))
	rng := newRand(binary.BigEndian.Uint64(d[:]))
	switch node.contact.ID[31] % 6 {
	case 0: // itself
		nodes = []wire.Node{node.node}
	case 1: // too many
		nodes = slices.Repeat(n.listed(node.server.FindNode(target)), 2)
	case 2: // a node id nearer than any, which is not its peer's
		nodes = []wire.Node{node.node}
		id := IDFromBytes(target)
		nodes[0].ID = id[:]
	case 3: // twenty peers that do not exist
		for range BucketSize {
			p := peer.ID(fmt.Sprintf("\x00\x0d%013d", rng.Uint32()))
			id := IDFromPeer(p)
			addr, err := ma.NewComponent("p2p", p.String())
			require.NoError(n.t, err)
			nodes = append(nodes, wire.Node{ID: id[:], Addrs: [][]byte{addr.Multiaddr().Bytes()}})
		}
	case 4: // a value that may not be stored; to FIND_NODE, that it knows nobody
		values = []wire.Raw{wire.RawText("rubbish")}
	default: // a value of nobody, even to FIND_NODE
		values = []wire.Raw{simValue("liar "+node.contact.ID.String(), time.Hour)}
		isValue = true
	}
	if isValue {
		return &wire.FindValueReply{Values: values, Nodes: nodes}
	}
	return &wire.FindNodeReply{Nodes: nodes}
}

// quantile returns the q-quantile of numbers, which it sorts.
func quantile[T cmp.Ordered](numbers []T, q float64) T {
	slices.Sort(numbers)
	return numbers[min(len(numbers)-1, int(q*float64(len(numbers))))]
}
