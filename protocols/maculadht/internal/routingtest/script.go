package routingtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Reply is what a scripted contact does with a question.
type Reply func(ctx context.Context, m wire.Message) (wire.Message, error)

// Script is a network of which each contact does what the test says. All times
// are virtual.
type Script struct {
	T       *testing.T
	Server  *routing.Server
	Target  routing.ID
	Peers   []routing.Contact // libp2p contacts, nearest to target first
	Replies map[routing.ID]Reply
	Other   Reply // of contacts without one of their own
	Start   time.Time

	Mu       sync.Mutex
	Asked    []routing.ID
	When     []time.Duration // since the start
	Messages []wire.Message
	InFlight int
	Most     int // in flight at one time
}

// Delay is how long a contact takes that has no reply of its own.
const Delay = 10 * time.Millisecond

// Play runs a test in a bubble, on a script with n peers that are not in the
// table yet. Each answers, after Delay, that it knows nobody. The buckets
// have room for all, unless an option says otherwise.
func Play(t *testing.T, n int, test func(t *testing.T, s *Script), opts ...routing.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server, err := routing.NewServer(routing.IDFromBytes([]byte("self")), append([]routing.Option{routing.WithBucketSize(1000)}, opts...)...)
		require.NoError(t, err)
		defer server.Close()
		s := &Script{
			T: t, Server: server, Target: routing.IDFromBytes([]byte("target")),
			Replies: map[routing.ID]Reply{}, Other: After(Delay, Names()), Start: time.Now(),
		}
		for i := range n {
			s.Peers = append(s.Peers, Peer(i))
		}
		slices.SortFunc(s.Peers, func(a, b routing.Contact) int { return s.Target.CompareDistance(a.ID, b.ID) })
		test(t, s)
		require.Zero(t, s.InFlight, "no query outlives its lookup")
	})
}

// Peer returns the i-th of any number of libp2p contacts.
func Peer(i int) routing.Contact {
	p := peer.ID(fmt.Sprintf("\x00\x0e%014d", i))
	id := routing.IDFromPeer(p)
	return routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true}
}

// Know puts contacts into the table.
func (s *Script) Know(contacts ...routing.Contact) {
	for _, c := range contacts {
		require.NoError(s.T, s.Server.Admit(c))
	}
}

// Failures returns how often in a row a contact of the table has failed.
func (s *Script) Failures(c routing.Contact) int {
	known, ok := s.Server.Contact(c.ID)
	require.True(s.T, ok, "the contact is in the table")
	return known.Failures()
}

// Send implements routing.Network.
func (s *Script) Send(context.Context, routing.Contact, wire.Message) error {
	panic("neither lookups nor the upkeep send without an answer")
}

// Query implements routing.Network.
func (s *Script) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	s.Mu.Lock()
	s.Asked = append(s.Asked, to.ID)
	s.When = append(s.When, time.Since(s.Start))
	s.Messages = append(s.Messages, m)
	s.InFlight++
	s.Most = max(s.Most, s.InFlight)
	answer := s.Replies[to.ID]
	if answer == nil {
		answer = s.Other
	}
	s.Mu.Unlock()
	defer func() {
		s.Mu.Lock()
		defer s.Mu.Unlock()
		s.InFlight--
	}()
	return answer(ctx, m)
}

// NearestFirst has a lookup of values ask the nearest first, as one of nodes does.
func NearestFirst(int) int { return 0 }

// Names answers with a list of nodes, in the reply that fits.
func Names(contacts ...routing.Contact) Reply {
	nodes := make([]wire.Node, len(contacts))
	for i, c := range contacts {
		nodes[i] = Node(c)
	}
	return Lists(nodes...)
}

// Lists answers with a list of nodes as they are on the wire.
func Lists(nodes ...wire.Node) Reply {
	return func(_ context.Context, m wire.Message) (wire.Message, error) {
		if m.Type() == wire.TypeFindValue {
			return &wire.FindValueReply{Nodes: nodes}, nil
		}
		return &wire.FindNodeReply{Nodes: nodes}, nil
	}
}

// Says answers with a message or an error.
func Says(m wire.Message, err error) Reply {
	return func(context.Context, wire.Message) (wire.Message, error) { return m, err }
}

// Has answers with values, and knows nobody.
func Has(values ...wire.Raw) Reply {
	return func(ctx context.Context, m wire.Message) (wire.Message, error) {
		if m.Type() == wire.TypeFindNode {
			return Names()(ctx, m)
		}
		return &wire.FindValueReply{Values: values}, nil
	}
}

// After answers late, and not once the question has been given up.
func After(d time.Duration, r Reply) Reply {
	return func(ctx context.Context, m wire.Message) (wire.Message, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return r(ctx, m)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Never does not answer.
func Never(ctx context.Context, _ wire.Message) (wire.Message, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Node is how a contact is named in a reply.
func Node(c routing.Contact) wire.Node {
	n := wire.Node{ID: c.NodeID, Address: c.Endpoint}
	if c.Peer == "" {
		return n
	}
	for _, a := range append(slices.Clone(c.Addrs), nil) {
		if name, err := ma.NewComponent("p2p", c.Peer.String()); err == nil {
			n.Addrs = append(n.Addrs, a.AppendComponent(name).Bytes())
		}
	}
	return n
}

// Value returns a value of a provider with a ttl in seconds.
func Value(provider string, ttl int) wire.Raw {
	return ValueOf(provider, time.Duration(ttl)*time.Second)
}

// In returns the i-th libp2p contact of a bucket, which has just spoken.
func (s *Script) In(bucket, i int) routing.Contact {
	id := IDAt(Rand(uint64(i)), s.Server.Self(), bucket)
	c := Libp2p(id, peer.ID(fmt.Sprintf("\x00\x0e%06d %07d", bucket, i)))
	c.LastSeen = time.Now()
	return c
}

// ErlangIn is In for an Erlang contact.
func (s *Script) ErlangIn(bucket, i int) routing.Contact {
	c := s.In(bucket, i)
	c.Peer, c.Endpoint = "", fmt.Sprintf("https://192.0.2.%d:%d", bucket, i)
	return c
}

// Questions returns when a contact was sent messages of a type.
func (s *Script) Questions(to routing.Contact, typ wire.Type) (when []time.Duration) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for i, id := range s.Asked {
		if id == to.ID && s.Messages[i].Type() == typ {
			when = append(when, s.When[i])
		}
	}
	return when
}

// SetOther sets Other while questions are under way.
func (s *Script) SetOther(r Reply) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Other = r
}

// Silent is a network in which nobody answers.
type Silent struct{}

// Send implements routing.Network.
func (Silent) Send(context.Context, routing.Contact, wire.Message) error { return nil }

// Query implements routing.Network.
func (Silent) Query(ctx context.Context, _ routing.Contact, m wire.Message) (wire.Message, error) {
	return Never(ctx, m)
}
