package lookup

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// What can not be right has its sender dropped from the lookup and noted as
// failed, and nothing of what it said is used.
func TestWrongAnswers(t *testing.T) {
	const from = 5 // who answers wrongly; it names victim, which nobody else does
	tests := map[string]struct {
		values bool
		reply  func(s *script, victim routing.Contact) reply
	}{
		"names itself": {false, func(s *script, victim routing.Contact) reply { return names(victim, s.Peers[from]) }},
		"names itself nearer": {false, func(s *script, victim routing.Contact) reply {
			n := routingtest.Node(s.Peers[from])
			n.ID = s.Target[:]
			return routingtest.Lists(routingtest.Node(victim), n)
		}},
		"too many nodes": {false, func(s *script, victim routing.Contact) reply {
			return names(append(slices.Repeat(s.Peers[:1], routing.BucketSize), victim)...)
		}},
		"a node id that is not the peer's": {true, func(s *script, victim routing.Contact) reply {
			n := routingtest.Node(s.Peers[0])
			id := routing.IDFromBytes([]byte("another"))
			n.ID = id[:]
			return routingtest.Lists(routingtest.Node(victim), n)
		}},
		"addresses that are none": {false, func(s *script, victim routing.Contact) reply {
			id := routing.IDFromBytes([]byte("another"))
			return routingtest.Lists(routingtest.Node(victim), wire.Node{ID: id[:], Addrs: [][]byte{[]byte("rubbish")}})
		}},
		"addresses that are none, and an endpoint": {false, func(s *script, victim routing.Contact) reply {
			return routingtest.Lists(routingtest.Node(victim), wire.Node{ID: []byte("x"), Address: "https://192.0.2.1:1", Addrs: [][]byte{[]byte("rubbish")}})
		}},
		"values where nodes were asked": {false, func(s *script, victim routing.Contact) reply {
			return says(&wire.FindValueReply{Values: []wire.Raw{value("liar", 60)}}, nil)
		}},
		"nodes where values were asked": {true, func(s *script, victim routing.Contact) reply {
			return says(&wire.FindNodeReply{Nodes: []wire.Node{routingtest.Node(victim)}}, nil)
		}},
		"another message":          {false, func(*script, routing.Contact) reply { return says(&wire.Pong{}, nil) }},
		"no message":               {true, func(*script, routing.Contact) reply { return says(nil, nil) }},
		"a value that is no map":   {true, func(*script, routing.Contact) reply { return has(value("liar", 60), wire.RawText("x")) }},
		"a value without life":     {true, func(*script, routing.Contact) reply { return has(value("liar", 60), value("y", 0)) }},
		"a value that is too long": {true, func(*script, routing.Contact) reply { return has(value(strings.Repeat("x", values.MaxSize), 60)) }},
		"too many values": {true, func(*script, routing.Contact) reply {
			return has(slices.Repeat([]wire.Raw{value("liar", 60)}, wire.MaxValues+1)...)
		}},
		"values, and nodes that can not be": {true, func(s *script, victim routing.Contact) reply {
			return says(&wire.FindValueReply{Values: []wire.Raw{value("liar", 60)}, Nodes: []wire.Node{routingtest.Node(s.Peers[from])}}, nil)
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 10, func(t *testing.T, s *script) {
				victim := s.Peers[0]
				s.Know(s.Peers[1:]...)
				s.Replies[s.Peers[from].ID] = tt.reply(s, victim)
				l := lookups(s, WithQuorum(0))
				find := l.Nodes
				if tt.values {
					find = l.Values
				}
				found, _ := find(t.Context(), s.Target[:])
				require.Equal(t, ids(slices.Delete(slices.Clone(s.Peers[1:]), from-1, from)), ids(found.Closest))
				require.NotContains(t, s.Asked, victim.ID)
				require.Empty(t, found.Values)
				require.Zero(t, found.Holders)
				require.Equal(t, 1, s.Failures(s.Peers[from]))
				at := slices.IndexFunc(found.Hops, func(h Hop) bool { return h.Contact.ID == s.Peers[from].ID })
				require.ErrorIs(t, found.Hops[at].Err, errWrong)
			})
		})
	}
}

// What an honest contact may answer is not held against it.
func TestUnusualAnswers(t *testing.T) {
	tests := map[string]struct {
		reply func(s *script) reply
	}{
		"nobody": {func(s *script) reply { return names() }},
		"us": {func(s *script) reply {
			self := s.Server.Self()
			return routingtest.Lists(wire.Node{ID: self[:]})
		}},
		"an Erlang node":         {func(s *script) reply { return names(routingtest.Erlang(s.Target, "https://192.0.2.1:1")) }},
		"a node without address": {func(s *script) reply { return routingtest.Lists(wire.Node{ID: s.Target[:]}) }},
		"the same node again":    {func(s *script) reply { return names(slices.Repeat(s.Peers[:1], routing.BucketSize)...) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 10, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = tt.reply(s)
				s.Replies[s.Peers[0].ID] = names()
				found, err := lookups(s).Nodes(t.Context(), s.Target[:])
				require.NoError(t, err)
				require.Equal(t, ids(s.Peers), ids(found.Closest))
				require.Len(t, s.Asked, len(s.Peers), "Erlang nodes that others name are not asked")
				for _, c := range s.Peers {
					require.Zero(t, s.Failures(c))
				}
			})
		})
	}
}

// Who names nobody nearer although there are k is noted as failed, unless it had
// a value; who is among the k nearest can not know better.
func TestContactsThatNameNobodyNearer(t *testing.T) {
	tests := map[string]struct {
		reply    func(s *script) reply
		failures int
	}{
		"nobody at all":     {func(s *script) reply { return names() }, 1},
		"only farther ones": {func(s *script) reply { return names(s.Peers[30]) }, 1},
		"a nearer one":      {func(s *script) reply { return names(s.Peers[30], s.Peers[24]) }, 0},
		"a value":           {func(s *script) reply { return has(value("provider", 60)) }, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 40, func(t *testing.T, s *script) {
				s.Know(s.Peers[25])
				s.Other = names(s.Peers[:20]...)
				for _, c := range s.Peers[:20] {
					s.Replies[c.ID] = names()
				}
				s.Know(s.Peers[26])
				s.Replies[s.Peers[26].ID] = tt.reply(s)
				found, _ := lookups(s).Values(t.Context(), s.Target[:])
				require.Equal(t, ids(s.Peers[:20]), ids(found.Closest))
				require.Equal(t, tt.failures, s.Failures(s.Peers[26]))
				require.Zero(t, s.Failures(s.Peers[25]))
			})
		})
	}
}

// However much it is told, a lookup ends, and keeps the nearest in mind.
func TestLookupAmongLiars(t *testing.T) {
	play(t, 10_000, func(t *testing.T, s *script) {
		told := 0
		s.Know(s.Peers[9000:9020]...)
		s.Other = func(_ context.Context, m wire.Message) (wire.Message, error) { // each names twenty new ones
			s.Mu.Lock()
			defer s.Mu.Unlock()
			told += routing.BucketSize
			return names(s.Peers[max(0, 9000-told):9000-told+routing.BucketSize]...)(nil, m)
		}
		found, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.LessOrEqual(t, len(found.Hops), maxAsked)
		require.Len(t, found.Closest, routing.BucketSize)
	})
}

func TestFrontierIsBounded(t *testing.T) {
	rng := routingtest.Rand(1)
	target := routingtest.RandomID(rng)
	f := newFrontier(target, routingtest.NewServer(t), routing.BucketSize)
	var best routing.ID
	questions := 0
	for i := range 100_000 {
		id := routingtest.RandomID(rng)
		if i == 0 || target.Closer(id, best) {
			best = id
		}
		f.add(routing.Contact{ID: id}, 1)
		if i%300 == 0 {
			if p := f.next(); p != nil {
				questions++
				p.state = dropped
				require.False(t, target.Closer(best, p.ID) && f.known[best].state == unasked, "the nearest is asked first")
			}
		}
		// Plain comparisons: this is done very often.
		switch {
		case f.asked < maxAsked && f.known[best] == nil:
			t.Fatal("the nearest was forgotten")
		case f.asked < maxAsked && f.list[0].ID != best:
			t.Fatal("the nearest is not the first")
		case f.unasked > maxUnasked, len(f.list) > maxUnasked+maxAsked, len(f.known) != len(f.list):
			t.Fatalf("%d contacts, %d not asked", len(f.list), f.unasked)
		}
	}
	require.Equal(t, maxAsked, questions)
	require.True(t, f.settled())
}
