package lookup

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/negative"
)

// erlangs returns n Erlang contacts of the table.
func erlangs(s *script, n int) []routing.Contact {
	var contacts []routing.Contact
	for i := range n {
		contacts = append(contacts, routingtest.Erlang(routing.IDFromBytes(fmt.Append(nil, "erlang ", i)), fmt.Sprintf("https://192.0.2.1:%d", i)))
	}
	s.Know(contacts...)
	return s.Server.Table().NearestErlang(s.Target, n)
}

func TestErlangContactsAreAskedLast(t *testing.T) {
	v := value("provider", 60)
	tests := map[string]struct {
		nodes   bool // FIND_NODE instead
		libp2p  bool // a libp2p contact has the value
		replies []reply
		asked   int
		found   bool
	}{
		"never asked for nodes":               {true, false, []reply{has(v), has(v)}, 0, false},
		"not asked when a peer has the value": {false, true, []reply{has(v), has(v)}, 0, true},
		"asked after all others":              {false, false, []reply{has(), has()}, 2, false},
		"until enough have answered":          {false, false, []reply{has(v), has(v), has(v), has(v)}, 3, true},
		"a dead one is passed over":           {false, false, []reply{never, says(nil, proto.ErrUnreachable), has(v)}, 3, true},
		"odd values are passed over":          {false, false, []reply{has(wire.RawText("odd"), v), has(wire.RawText("odd"))}, 2, true},
		"their nodes are not asked":           {false, false, []reply{names(routingtest.Peer(99)), has(v)}, 2, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				contacts := erlangs(s, len(tt.replies))
				for i, r := range tt.replies {
					s.Replies[contacts[i].ID] = func(ctx context.Context, m wire.Message) (wire.Message, error) {
						require.IsType(t, &wire.FindValue{}, m)
						require.Equal(t, 1, s.InFlight, "one at a time")
						require.GreaterOrEqual(t, len(s.Asked), routing.BucketSize, "after the others")
						return after(routingtest.Delay, r)(ctx, m)
					}
				}
				if tt.libp2p {
					s.Replies[s.Peers[19].ID] = has(v)
				}
				l := lookups(s)
				find := l.Values
				if tt.nodes {
					find = l.Nodes
				}
				found, _ := find(t.Context(), s.Target[:])
				asked := 0
				for _, h := range found.Hops {
					if h.Contact.IsErlang() {
						asked++
					}
				}
				require.Equal(t, tt.asked, asked)
				require.Equal(t, tt.found, len(found.Values) > 0)
				require.Len(t, found.Closest, routing.BucketSize)
				for _, c := range contacts {
					require.Zero(t, s.Failures(c), "PINGs tell whether an Erlang node is alive")
				}
			})
		})
	}
}

func TestMissesAreRemembered(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		contact := erlangs(s, 1)[0]
		l := lookups(s)
		asks := func(key string) bool {
			before := len(s.Asked)
			l.Values(t.Context(), []byte(key))
			return len(s.Asked)-before == 2 // the libp2p contact is always asked
		}
		require.True(t, asks("a"))
		require.False(t, asks("a"))
		require.True(t, asks("b"), "of another key it is asked")
		time.Sleep(negative.TTL - time.Second)
		require.False(t, asks("a"))
		time.Sleep(time.Second)
		require.True(t, asks("a"), "after a minute it is asked again")

		s.Replies[contact.ID] = says(nil, proto.ErrUnreachable)
		require.True(t, asks("c"))
		require.True(t, asks("c"), "a failure is no miss")
		s.Replies[contact.ID] = has(value("provider", 60))
		require.True(t, asks("c"))
		require.True(t, asks("c"), "nor is a hit")

		s.Replies[contact.ID] = func(ctx context.Context, _ wire.Message) (wire.Message, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("%w: %w", proto.ErrUnanswered, ctx.Err())
		}
		require.True(t, asks("d"))
		require.False(t, asks("d"), "it has not done with the question, which took too long")
		ctx, cancel := context.WithTimeout(t.Context(), 2*routingtest.Delay)
		defer cancel()
		l.Values(ctx, []byte("e"))
		require.False(t, asks("e"), "nor with one whose asker has gone")
	})
}

// Lookups of one key at the same time do not have an Erlang contact miss it once
// for each of them.
func TestMissesAreShared(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		contact := erlangs(s, 1)[0]
		l := lookups(s)
		find := func(ctx context.Context, key string) (values int) {
			found, _ := l.Values(ctx, []byte(key))
			return len(found.Values)
		}
		atOnce := func(key string) (asked, values int) {
			before := len(s.Asked)
			var lookups sync.WaitGroup
			var sum atomic.Int64
			for range 10 {
				lookups.Go(func() { sum.Add(int64(find(t.Context(), key))) })
			}
			lookups.Wait()
			return len(s.Asked) - before, int(sum.Load())
		}
		s.Replies[contact.ID] = after(time.Second, has())
		asked, values := atOnce("missed")
		require.Equal(t, []int{1, 0}, []int{asked, values})

		s.Replies[contact.ID] = after(routingtest.Delay, has(value("provider", 60)))
		asked, values = atOnce("found")
		require.Equal(t, []int{10, 10}, []int{asked, values}, "each has it")

		// Who gives up the wait has asked nothing, and keeps nobody from it.
		s.Replies[contact.ID] = after(time.Second, has(value("provider", 60)))
		first := make(chan int, 1)
		go func() { first <- find(t.Context(), "slow") }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), routingtest.Delay)
		defer cancel()
		require.Zero(t, find(ctx, "slow"))
		require.Equal(t, 1, <-first)
		require.Equal(t, 1, find(t.Context(), "slow"))
		done, err := l.negative.Begin(t.Context(), negative.Miss{Contact: contact.ID, Key: routing.IDFromBytes([]byte("slow"))})
		require.NoError(t, err, "nobody asks it any more")
		done()
	})
}

// A slow peer that answers while an Erlang contact is asked does not have the next
// one asked at the same time.
func TestErlangContactsBesideASlowPeer(t *testing.T) {
	play(t, 30, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Replies[s.Peers[0].ID] = after(2*leastSlot, names())
		contacts := erlangs(s, 2)
		for _, c := range contacts {
			s.Replies[c.ID] = after(900*time.Millisecond, has())
		}
		start := time.Now()
		_, err := lookups(s).Values(t.Context(), s.Target[:])
		require.ErrorIs(t, err, records.ErrNotFound)
		require.GreaterOrEqual(t, time.Since(start), leastSlot+1800*time.Millisecond)
	})
}

// An Erlang contact that takes its time asks its own network, so the next one is not asked
// to do the same.
func TestErlangContactThatTakesItsTimeIsTheLast(t *testing.T) {
	tests := map[string]struct {
		first reply
		asked int
	}{
		"it misses at once": {after(routingtest.Delay, has()), 2},
		"it misses late":    {after(DefaultSlow, has()), 1},
		"it has not answered in time": {func(ctx context.Context, _ wire.Message) (wire.Message, error) {
			<-ctx.Done()
			return nil, proto.ErrUnanswered
		}, 1},
		"it was not reached":   {says(nil, proto.ErrUnreachable), 2},
		"it has a value, late": {after(DefaultSlow, has(value("a", 60))), 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				contacts := erlangs(s, 2)
				slices.SortFunc(contacts, func(a, b routing.Contact) int { return s.Target.CompareDistance(a.ID, b.ID) })
				s.Replies[contacts[0].ID] = test.first
				s.Replies[contacts[1].ID] = after(routingtest.Delay, has())
				lookups(s).Values(t.Context(), s.Target[:])
				require.Len(t, s.Asked, test.asked)
			})
		})
	}
}

func TestValueWithoutLifeIsNoHit(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = says(&wire.FindValueReply{Values: []wire.Raw{value("a", 60)}, ExpiresIn: []int64{0}}, nil)
		found, err := lookups(s).Values(t.Context(), s.Target[:])
		require.ErrorIs(t, err, records.ErrNotFound)
		require.Zero(t, found.Holders)
	})
}
