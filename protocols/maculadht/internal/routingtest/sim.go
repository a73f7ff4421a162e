package routingtest

import (
	"context"
	"crypto/sha256"
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
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// behaviour is what a simulated node does when it is asked.
type behaviour uint8

const (
	honest behaviour = iota
	silent
	rubbish
	lying // see Beset
)

// SimNode is a node of a simulated network: a real server behind it.
type SimNode struct {
	Contact routing.Contact // without its address, see Current
	Server  *routing.Server
	kind    behaviour
	band    []*SimNode // of a liar
	decoys  bool       // it has something under each key
	Dead    atomic.Bool
	Load    atomic.Int64 // how often it was asked
	place   int          // in sim.Live
	at      atomic.Pointer[simAddr]
}

// simAddr is where a node is, until it moves.
type simAddr struct {
	addr   ma.Multiaddr
	node   wire.Node // as who knows the node by it lists it
	before *simAddr
	moves  byte
}

// listed is how who knows a node by a contact lists it.
func (a *simAddr) listed(c *routing.Contact) wire.Node {
	for ; a != nil; a = a.before {
		if slices.ContainsFunc(c.Addrs, a.addr.Equal) {
			return a.node
		}
	}
	return Node(*c)
}

// NewSimNode returns a node with the name, which decides its id.
func NewSimNode(t testing.TB, name string) *SimNode {
	node := newSimNode(t, peer.ID("\x00"+string(rune(len(name)))+name)) // an identity multihash
	node.settle(t)
	return node
}

func newSimNode(t testing.TB, p peer.ID) *SimNode {
	id := routing.IDFromPeer(p)
	kept, err := records.New(records.WithSweepInterval(1000 * time.Hour))
	require.NoError(t, err)
	server, err := routing.NewServer(id, routing.WithRecords(kept))
	require.NoError(t, err)
	return &SimNode{Contact: Libp2p(id, p), Server: server}
}

func (n *SimNode) close() {
	n.Server.Close()
	n.Server.Records().Close()
}

// settle puts a node at another address, of its own.
func (n *SimNode) settle(t testing.TB) {
	before, moves := n.at.Load(), byte(0)
	if before != nil {
		moves = before.moves + 1
	}
	h := sha256.Sum256(append(n.Contact.ID[:], moves))
	addr, err := ma.NewMultiaddr(fmt.Sprintf("/ip4/20.%d.%d.%d/udp/%d/quic-v1", h[0], h[1], h[2], 1024+int(h[3])<<7+int(h[4])))
	require.NoError(t, err)
	c := n.Contact
	c.Addrs = []ma.Multiaddr{addr}
	n.at.Store(&simAddr{addr, Node(c), before, moves})
}

// Current is the contact by which others reach a node now.
func (n *SimNode) Current() routing.Contact {
	c := n.Contact
	c.Addrs = []ma.Multiaddr{n.at.Load().addr}
	return c
}

// reachedBy reports whether a contact leads to the node.
func (n *SimNode) reachedBy(c routing.Contact) bool {
	return slices.ContainsFunc(c.Addrs, n.at.Load().addr.Equal)
}

// Sim is a network in memory: latencies in virtual time, the rest is real.
type Sim struct {
	T      testing.TB
	Upkeep bool // who speak to each other become contacts
	Greets bool // as with Upkeep, but what follows of that is left to them
	Guests int  // how many Erlang nodes there are for each node

	mu    sync.RWMutex
	nodes map[routing.ID]*SimNode
	Live  []*SimNode
}

// NewSim returns n nodes whose tables hold what an ideal upkeep would give:
// BucketSize random nodes of each bucket.
func NewSim(t testing.TB, n int, rng *rand.Rand) *Sim {
	s := &Sim{T: t, nodes: make(map[routing.ID]*SimNode, n)}
	for i := range n {
		s.Add(NewSimNode(t, fmt.Sprint("sim-", rng.Uint32(), "-", i)))
	}
	sorted := slices.Clone(s.Live)
	slices.SortFunc(sorted, func(a, b *SimNode) int { return slices.Compare(a.Contact.ID[:], b.Contact.ID[:]) })
	for _, node := range s.Live {
		fillTable(node, sorted, rng)
	}
	return s
}

// fillTable gives a node its contacts, of nodes that are sorted by id.
func fillTable(node *SimNode, sorted []*SimNode, rng *rand.Rand) {
	self := node.Contact.ID
	for bit := 0; bit < routing.IDBits && len(sorted) > 1; bit++ {
		half, _ := slices.BinarySearchFunc(sorted, true, func(o *SimNode, _ bool) int {
			if bitOf(o.Contact.ID, bit) {
				return 0
			}
			return -1
		})
		mine, others := sorted[half:], sorted[:half]
		if !bitOf(self, bit) {
			mine, others = others, mine
		}
		for _, i := range sample(rng, len(others), routing.BucketSize) {
			_ = node.Server.Table().Add(others[i].Current())
		}
		sorted = mine
	}
}

func bitOf(id routing.ID, bit int) bool { return id[bit/8]&(0x80>>(bit%8)) != 0 }

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

// Close closes the servers and their records.
func (s *Sim) Close() {
	for _, node := range s.nodes {
		node.close()
	}
}

// Add puts a node into the network.
func (s *Sim) Add(node *SimNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node.place = len(s.Live)
	s.Live = append(s.Live, node)
	s.nodes[node.Contact.ID] = node
}

// Kill takes a node out of the network. Others are not told.
func (s *Sim) Kill(node *SimNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node.Dead.Store(true)
	last := s.Live[len(s.Live)-1]
	s.Live[node.place], last.place = last, node.place
	s.Live = s.Live[:len(s.Live)-1]
}

// Get returns the node with an id, dead or alive.
func (s *Sim) Get(id routing.ID) *SimNode {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.nodes[id]
}

// Random returns a node that lives and is honest.
func (s *Sim) Random(rng *rand.Rand) *SimNode {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for {
		if node := s.Live[rng.IntN(len(s.Live))]; node.kind == honest {
			return node
		}
	}
}

// Nearest returns the n live nodes nearest to the target but one.
func (s *Sim) Nearest(target routing.ID, n int, but *SimNode) []routing.Contact {
	s.mu.RLock()
	defer s.mu.RUnlock()
	near := make([]routing.Contact, 0, n)
	for _, node := range s.Live {
		if node == but || len(near) == n && !target.Closer(node.Contact.ID, near[n-1].ID) {
			continue
		}
		at, _ := slices.BinarySearchFunc(near, node.Contact.ID, func(c routing.Contact, id routing.ID) int {
			return target.CompareDistance(c.ID, id)
		})
		near = slices.Insert(near[:min(len(near), n-1)], at, node.Contact)
	}
	return near
}

// IsNearest reports whether what a node found are the nodes nearest to the target;
// of those, where some are malicious, at least all that are honest.
func (s *Sim) IsNearest(found []routing.Contact, target routing.ID, from *SimNode) bool {
	want := s.Nearest(target, routing.BucketSize, from)
	var honests []routing.ID
	for _, c := range want {
		if s.Get(c.ID).kind == honest {
			honests = append(honests, c.ID)
		}
	}
	if len(honests) == len(want) {
		return slices.Equal(IDs(found), honests)
	}
	return !slices.ContainsFunc(honests, func(id routing.ID) bool { return !slices.Contains(IDs(found), id) })
}

// Move gives a node another address. It tells the contacts that it has; who else
// knows it finds nobody at the old one.
func (s *Sim) Move(node *SimNode) {
	node.settle(s.T)
	for _, c := range node.Server.Contacts() {
		if other := s.Get(c.ID); other != nil && !other.Dead.Load() && other.reachedBy(c) {
			s.Meet(other, node)
		}
	}
}

// simGateways is how many nodes an Erlang guest connects to: the one that it
// bootstraps from and some that this one lists.
const simGateways = 20

// Visit connects as many Erlang nodes as Guests says to a node, and each to some
// others. Every third can be dialled, which makes it a contact of theirs.
func (s *Sim) Visit(node *SimNode, rng *rand.Rand) {
	for i := range s.Guests {
		id := RandomID(rng)
		ip := rng.Uint32()
		guest := Erlang(id, fmt.Sprintf("https://21.%d.%d.%d:9443", ip>>16&255, ip>>8&255, ip&255))
		at := node
		for range simGateways {
			if i%3 == 0 {
				_ = at.Server.Admit(guest) // the bucket may be full
			}
			_, err := at.Server.AttachGuest(guest)
			require.NoError(s.T, err)
			at = s.Random(rng)
		}
	}
}

// Corrupt makes n nodes malicious, every other one silent.
func (s *Sim) Corrupt(n int, rng *rand.Rand) {
	for i := range n {
		s.Random(rng).kind = []behaviour{silent, rubbish}[i%2]
	}
}

// Store keeps a value under key where an ideal replication would.
func (s *Sim) Store(key []byte) {
	value := ValueOf(string(key), time.Hour*24)
	for _, c := range s.Nearest(routing.IDFromBytes(key), routing.BucketSize, nil) {
		v, err := values.Parse(value)
		require.NoError(s.T, err)
		require.NoError(s.T, s.Get(c.ID).Server.Records().Store(context.Background(), records.Put{Key: key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
	}
}

// SimNetwork is the network as one node sees it.
type SimNetwork struct {
	*Sim
	from *SimNode
	Sent atomic.Int64
}

// Network returns the network as a node sees it.
func (s *Sim) Network(from *SimNode) *SimNetwork { return &SimNetwork{Sim: s, from: from} }

// Send implements routing.Network.
func (n *SimNetwork) Send(context.Context, routing.Contact, wire.Message) error { return nil }

// Query implements routing.Network.
func (n *SimNetwork) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	n.Sent.Add(1)
	node := n.Get(to.ID)
	switch {
	case node == nil && to.IsErlang():
	case node == nil || node.Dead.Load() || node.kind == silent || !node.reachedBy(to):
		<-ctx.Done()
		return nil, proto.ErrUnreachable
	default:
		node.Load.Add(1)
	}
	timer := time.NewTimer(roundTrip(n.from.Contact.ID, to.ID))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if node == nil {
		return &wire.FindValueReply{}, nil // an Erlang node, which has nothing
	}
	if n.Greets {
		n.Greet(node, n.from)
		n.Greet(n.from, node)
	}
	if n.Upkeep {
		n.Meet(node, n.from)
		n.Meet(n.from, node)
	}
	switch node.kind {
	case rubbish:
		return n.rubbish(node, m), nil
	case lying:
		return node.lie(m), nil
	}
	return n.answer(node, m), nil
}

// roundTrip is 20 to 150 ms, always the same between two nodes.
func roundTrip(a, b routing.ID) time.Duration {
	d := a.Distance(b)
	return 20*time.Millisecond + time.Duration(uint32(d[28])<<16|uint32(d[29])<<8|uint32(d[30]))*130*time.Millisecond/(1<<24)
}

// Meet has a node take another in as a contact. A full bucket pings its oldest,
// and replaces it if it is dead.
func (s *Sim) Meet(node, other *SimNode) {
	t := node.Server.Table()
	if t.Add(other.Current()) != routing.ErrBucketFull {
		return
	}
	oldest, _ := t.LeastRecentlySeen(node.Contact.ID.CommonPrefixLen(other.Contact.ID))
	if seen := s.Get(oldest.ID); seen != nil && (seen.Dead.Load() || !seen.reachedBy(oldest)) {
		t.Remove(oldest.ID)
		_ = t.Add(other.Current())
	} else {
		t.Alive(oldest.ID, time.Now())
	}
}

// Greet has a node admit another, which has just spoken to it.
func (s *Sim) Greet(node, other *SimNode) {
	c := other.Current()
	c.LastSeen = time.Now()
	_ = node.Server.Admit(c) // the bucket may be full
}

func (n *SimNetwork) answer(node *SimNode, m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.FindNode:
		return &wire.FindNodeReply{Nodes: n.listed(node.Server.FindNode(m.Target))}
	case *wire.FindValue:
		reply := &wire.FindValueReply{}
		found, err := node.Server.Records().Values(context.Background(), m.Key)
		if err != nil {
			reply.Nodes = n.listed(node.Server.FindNode(m.Key))
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
func (n *SimNetwork) keep(node *SimNode, m *wire.Call) {
	var args procedures.StoreArgs
	require.NoError(n.T, args.Decode(m.Args))
	v, err := values.Parse(args.Value)
	require.NoError(n.T, err)
	require.NoError(n.T, node.Server.Records().Store(context.Background(), records.Put{
		Key: args.Key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL, ExpiresIn: wire.Seconds(args.ExpiresIn.V),
		From: n.from.Contact.NodeID, Source: records.Source{Name: n.from.Contact.ID.String()},
	}))
}

func (n *SimNetwork) listed(contacts []routing.Contact) []wire.Node {
	nodes := make([]wire.Node, len(contacts))
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range contacts {
		if node := n.nodes[contacts[i].ID]; node != nil {
			nodes[i] = node.at.Load().listed(&contacts[i])
		} else {
			nodes[i] = Node(contacts[i]) // an Erlang one
		}
	}
	return nodes
}

// rubbish is what a malicious node answers, each in its own way.
func (n *SimNetwork) rubbish(node *SimNode, m wire.Message) wire.Message {
	var target []byte
	var values []wire.Raw
	var nodes []wire.Node
	find, isValue := m.(*wire.FindValue)
	if isValue {
		target = find.Key
	} else {
		target = m.(*wire.FindNode).Target
	}
	d := node.Contact.ID.Distance(routing.IDFromBytes(target))
	rng := Rand(binary.BigEndian.Uint64(d[:]))
	switch node.Contact.ID[31] % 6 {
	case 0: // itself
		nodes = []wire.Node{node.at.Load().node}
	case 1: // too many
		nodes = slices.Repeat(n.listed(node.Server.FindNode(target)), 2)
	case 2: // a node id nearer than any, which is not its peer's
		nodes = []wire.Node{node.at.Load().node}
		id := routing.IDFromBytes(target)
		nodes[0].ID = id[:]
	case 3: // twenty peers that do not exist
		for range routing.BucketSize {
			p := peer.ID(fmt.Sprintf("\x00\x0d%013d", rng.Uint32()))
			id := routing.IDFromPeer(p)
			addr, err := ma.NewComponent("p2p", p.String())
			require.NoError(n.T, err)
			nodes = append(nodes, wire.Node{ID: id[:], Addrs: [][]byte{addr.Multiaddr().Bytes()}})
		}
	case 4: // a value that may not be stored; to FIND_NODE, that it knows nobody
		values = []wire.Raw{wire.RawText("rubbish")}
	default: // a value of nobody, even to FIND_NODE
		values = []wire.Raw{ValueOf("liar "+node.Contact.ID.String(), time.Hour)}
		isValue = true
	}
	if isValue {
		return &wire.FindValueReply{Values: values, Nodes: nodes}
	}
	return &wire.FindNodeReply{Nodes: nodes}
}
