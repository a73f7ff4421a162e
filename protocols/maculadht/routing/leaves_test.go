package routing

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
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// erlangs returns n Erlang contacts of the table.
func (s *script) erlangs(n int) []Contact {
	var leaves []Contact
	for i := range n {
		leaves = append(leaves, erlangContact(IDFromBytes(fmt.Append(nil, "erlang ", i)), fmt.Sprintf("https://192.0.2.1:%d", i)))
	}
	s.know(leaves...)
	return s.server.table.nearest(s.target, n, func(c *Contact) bool { return !c.IsErlang() })
}

func TestErlangContactsAreLeaves(t *testing.T) {
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
		"their nodes are not asked":           {false, false, []reply{names(scriptPeer(99)), has(v)}, 2, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, s *script) {
				s.know(s.peers...)
				leaves := s.erlangs(len(tt.replies))
				for i, r := range tt.replies {
					s.replies[leaves[i].ID] = func(ctx context.Context, m wire.Message) (wire.Message, error) {
						require.IsType(t, &wire.FindValue{}, m)
						require.Equal(t, 1, s.inFlight, "one at a time")
						require.GreaterOrEqual(t, len(s.asked), BucketSize, "after the others")
						return after(scriptDelay, r)(ctx, m)
					}
				}
				if tt.libp2p {
					s.replies[s.peers[19].ID] = has(v)
				}
				l := s.lookups()
				find := l.Values
				if tt.nodes {
					find = l.Nodes
				}
				found, _ := find(t.Context(), s.target[:])
				asked := 0
				for _, h := range found.Hops {
					if h.Contact.IsErlang() {
						asked++
					}
				}
				require.Equal(t, tt.asked, asked)
				require.Equal(t, tt.found, len(found.Values) > 0)
				require.Len(t, found.Closest, BucketSize)
				for _, c := range leaves {
					require.Zero(t, s.failures(c), "PINGs tell whether an Erlang node is alive")
				}
			})
		})
	}
}

func TestMissesAreRemembered(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.know(s.peers...)
		leaf := s.erlangs(1)[0]
		l := s.lookups()
		asks := func(key string) bool {
			before := len(s.asked)
			l.Values(t.Context(), []byte(key))
			return len(s.asked)-before == 2 // the libp2p contact is always asked
		}
		require.True(t, asks("a"))
		require.False(t, asks("a"))
		require.True(t, asks("b"), "of another key it is asked")
		time.Sleep(MissMemory - time.Second)
		require.False(t, asks("a"))
		time.Sleep(time.Second)
		require.True(t, asks("a"), "after a minute it is asked again")

		s.replies[leaf.ID] = says(nil, proto.ErrUnreachable)
		require.True(t, asks("c"))
		require.True(t, asks("c"), "a failure is no miss")
		s.replies[leaf.ID] = has(value("provider", 60))
		require.True(t, asks("c"))
		require.True(t, asks("c"), "nor is a hit")

		s.replies[leaf.ID] = func(ctx context.Context, _ wire.Message) (wire.Message, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("%w: %w", proto.ErrUnanswered, ctx.Err())
		}
		require.True(t, asks("d"))
		require.False(t, asks("d"), "it has not done with the question, which took too long")
		ctx, cancel := context.WithTimeout(t.Context(), 2*scriptDelay)
		defer cancel()
		l.Values(ctx, []byte("e"))
		require.False(t, asks("e"), "nor with one whose asker has gone")
	})
}

// Lookups of one key at the same time do not have an Erlang contact miss it once
// for each of them.
func TestMissesAreShared(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		leaf := s.erlangs(1)[0]
		l := s.lookups()
		find := func(ctx context.Context, key string) (values int) {
			found, _ := l.Values(ctx, []byte(key))
			return len(found.Values)
		}
		atOnce := func(key string) (asked, values int) {
			before := len(s.asked)
			var lookups sync.WaitGroup
			var sum atomic.Int64
			for range 10 {
				lookups.Go(func() { sum.Add(int64(find(t.Context(), key))) })
			}
			lookups.Wait()
			return len(s.asked) - before, int(sum.Load())
		}
		s.replies[leaf.ID] = after(time.Second, has())
		asked, values := atOnce("missed")
		require.Equal(t, []int{1, 0}, []int{asked, values})

		s.replies[leaf.ID] = after(scriptDelay, has(value("provider", 60)))
		asked, values = atOnce("found")
		require.Equal(t, []int{10, 10}, []int{asked, values}, "each has it")

		// Who gives up the wait has asked nothing, and keeps nobody from it.
		s.replies[leaf.ID] = after(time.Second, has(value("provider", 60)))
		first := make(chan int, 1)
		go func() { first <- find(t.Context(), "slow") }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), scriptDelay)
		defer cancel()
		require.Zero(t, find(ctx, "slow"))
		require.Equal(t, 1, <-first)
		require.Equal(t, 1, find(t.Context(), "slow"))
		require.Empty(t, l.misses.asking)
	})
}

func TestMissesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m misses
		at := func(i int) miss { return miss{key: IDFromBytes(fmt.Append(nil, i))} }
		for i := range 3 * maxMisses {
			m.add(at(i), time.Now())
			m.add(at(i), time.Now()) // by another lookup
			require.LessOrEqual(t, len(m.until), maxMisses)
			require.Len(t, m.order, len(m.until))
		}
		has := func(what miss) bool {
			done, err := m.begin(t.Context(), what)
			require.NoError(t, err)
			if done != nil {
				done()
			}
			return done == nil
		}
		require.False(t, has(at(0)), "the oldest go")
		require.True(t, has(at(3*maxMisses-1)))
		time.Sleep(MissMemory)
		m.add(at(1), time.Now())
		require.Len(t, m.until, 1, "what is over is forgotten")
	})
}

// A slow peer that answers while a leaf is asked does not have the next leaf
// asked at the same time.
func TestLeavesBesideASlowPeer(t *testing.T) {
	play(t, 30, func(t *testing.T, s *script) {
		s.know(s.peers...)
		s.replies[s.peers[0].ID] = after(1500*time.Millisecond, names())
		leaves := s.erlangs(2)
		for _, c := range leaves {
			s.replies[c.ID] = after(900*time.Millisecond, has())
		}
		start := time.Now()
		_, err := s.lookups().Values(t.Context(), s.target[:])
		require.ErrorIs(t, err, records.ErrNotFound)
		require.GreaterOrEqual(t, time.Since(start), DefaultSlow+1800*time.Millisecond)
	})
}

// A leaf that takes its time asks its own network, so the next one is not asked
// to do the same.
func TestLeafThatTakesItsTimeIsTheLast(t *testing.T) {
	tests := map[string]struct {
		first reply
		asked int
	}{
		"it misses at once": {after(scriptDelay, has()), 2},
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
				leaves := s.erlangs(2)
				slices.SortFunc(leaves, func(a, b Contact) int { return s.target.CompareDistance(a.ID, b.ID) })
				s.replies[leaves[0].ID] = test.first
				s.replies[leaves[1].ID] = after(scriptDelay, has())
				s.lookups().Values(t.Context(), s.target[:])
				require.Len(t, s.asked, test.asked)
			})
		})
	}
}

func TestValueWithoutLifeIsNoHit(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.know(s.peers...)
		s.other = says(&wire.FindValueReply{Values: []wire.Raw{value("a", 60)}, ExpiresIn: []int64{0}}, nil)
		found, err := s.lookups().Values(t.Context(), s.target[:])
		require.ErrorIs(t, err, records.ErrNotFound)
		require.Zero(t, found.Holders)
	})
}
