package routing

import (
	"cmp"
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
)

// reply is what a scripted contact does with a question.
type reply func(ctx context.Context, m wire.Message) (wire.Message, error)

// script is a network of which each contact does what the test says. All times
// are virtual.
type script struct {
	t       *testing.T
	server  *Server
	target  ID
	peers   []Contact // libp2p contacts, nearest to target first
	replies map[ID]reply
	other   reply // of contacts without one of their own
	start   time.Time

	mu       sync.Mutex
	asked    []ID
	when     []time.Duration // since the start
	messages []wire.Message
	inFlight int
	most     int // in flight at one time
}

const scriptDelay = 10 * time.Millisecond

// play runs a test in a bubble, on a script with n peers that are not in the
// table yet. Each answers, after scriptDelay, that it knows nobody. The buckets
// have room for all, unless an option says otherwise.
func play(t *testing.T, n int, test func(t *testing.T, s *script), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server, err := NewServer(IDFromBytes([]byte("self")), append([]Option{WithBucketSize(1000)}, opts...)...)
		require.NoError(t, err)
		defer server.Close()
		s := &script{t: t, server: server, target: IDFromBytes([]byte("target")), replies: map[ID]reply{}, other: after(scriptDelay, names()), start: time.Now()}
		for i := range n {
			s.peers = append(s.peers, scriptPeer(i))
		}
		slices.SortFunc(s.peers, func(a, b Contact) int { return s.target.CompareDistance(a.ID, b.ID) })
		test(t, s)
		require.Zero(t, s.inFlight, "no query outlives its lookup")
	})
}

func scriptPeer(i int) Contact {
	p := peer.ID(fmt.Sprintf("\x00\x0e%014d", i))
	id := IDFromPeer(p)
	return Contact{ID: id, NodeID: id[:], Peer: p, Verified: true}
}

// know puts contacts into the table.
func (s *script) know(contacts ...Contact) {
	for _, c := range contacts {
		require.NoError(s.t, s.server.Admit(c))
	}
}

func (s *script) lookups(opts ...Option) *Lookups {
	l, err := NewLookups(s.server, s, opts...)
	require.NoError(s.t, err)
	return l
}

// failures returns how often in a row a contact of the table has failed.
func (s *script) failures(c Contact) int {
	known, ok := s.server.Contact(c.ID)
	require.True(s.t, ok, "the contact is in the table")
	return known.failures
}

func (s *script) Send(context.Context, Contact, wire.Message) error { panic("a lookup sends nothing") }

func (s *script) Query(ctx context.Context, to Contact, m wire.Message) (wire.Message, error) {
	s.mu.Lock()
	s.asked = append(s.asked, to.ID)
	s.when = append(s.when, time.Since(s.start))
	s.messages = append(s.messages, m)
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	answer := s.replies[to.ID]
	if answer == nil {
		answer = s.other
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inFlight--
	}()
	return answer(ctx, m)
}

// names answers with a list of nodes, in the reply that fits.
func names(contacts ...Contact) reply {
	nodes := make([]wire.Node, len(contacts))
	for i, c := range contacts {
		nodes[i] = scriptNode(c)
	}
	return lists(nodes...)
}

func lists(nodes ...wire.Node) reply {
	return func(_ context.Context, m wire.Message) (wire.Message, error) {
		if m.Type() == wire.TypeFindValue {
			return &wire.FindValueReply{Nodes: nodes}, nil
		}
		return &wire.FindNodeReply{Nodes: nodes}, nil
	}
}

// says answers with a message or an error.
func says(m wire.Message, err error) reply {
	return func(context.Context, wire.Message) (wire.Message, error) { return m, err }
}

// has answers with values, and knows nobody.
func has(values ...wire.Raw) reply {
	return func(ctx context.Context, m wire.Message) (wire.Message, error) {
		if m.Type() == wire.TypeFindNode {
			return names()(ctx, m)
		}
		return &wire.FindValueReply{Values: values}, nil
	}
}

// after answers late, and not once the question has been given up.
func after(d time.Duration, r reply) reply {
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

// never does not answer.
func never(ctx context.Context, _ wire.Message) (wire.Message, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func scriptNode(c Contact) wire.Node {
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

// value returns a value of a provider with a ttl in seconds.
func value(provider string, ttl int) wire.Raw {
	return simValue(provider, time.Duration(ttl)*time.Second)
}

func providers(values []FoundValue) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = cmp.Or(string(v.NodeID), string(v.Raw))
	}
	return out
}
