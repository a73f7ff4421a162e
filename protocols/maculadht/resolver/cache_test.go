package resolver

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

func TestTheLookupGoesOnIntoTheCache(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = after(2*time.Second, has(value("a", 60)))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		values, took := c.find(s.Target[:])
		require.Empty(t, values)
		require.Equal(t, late, took)
		values, took = c.find(s.Target[:])
		require.Empty(t, values)
		require.Equal(t, late, took, "another waits for the same lookup")
		time.Sleep(2 * time.Second)
		values, took = c.find(s.Target[:])
		require.Len(t, values, 1)
		require.Zero(t, took)
		require.Equal(t, 1, questions(s, nil))
	})
}

func TestHowLongAnAnswerIsRemembered(t *testing.T) {
	tests := map[string]struct {
		reply  routingtest.Reply
		asked  time.Duration // again, after the first answer
		values int
		again  bool // it was looked up again
	}{
		"a hit":                           {has(value("a", 3600)), 40 * time.Second, 1, false},
		"a miss":                          {names(), 14 * time.Second, 0, false},
		"a miss is over":                  {names(), 16 * time.Second, 0, true},
		"a hit, no longer than it lives":  {once(has(value("a", 10)), names()), 11 * time.Second, 0, false},
		"a hit that ends at once":         {once(has(value("a", 2)), has(value("a", 60))), 3 * time.Second, 1, false},
		"a hit that nobody else asks for": {has(value("a", 3600)), 10 * time.Minute, 1, true},
		"that nobody answered":            {routingtest.Says(nil, proto.ErrUnreachable), 2 * time.Second, 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = tt.reply
				d := newDoor(t, s.Server, s)
				defer d.close()
				d.erlang().find(s.Target[:])
				time.Sleep(tt.asked)
				before := d.resolver.Stats().Lookups
				values, _ := d.erlang().find(s.Target[:])
				require.Len(t, values, tt.values)
				require.Equal(t, tt.again, d.resolver.Stats().Lookups > before)
			})
		})
	}
}

// once answers one question by first and the others by then.
func once(first, then routingtest.Reply) routingtest.Reply {
	asked := 0
	return func(ctx context.Context, m wire.Message) (wire.Message, error) {
		if asked++; asked == 1 {
			return first(ctx, m)
		}
		return then(ctx, m)
	}
}

// What is asked for again and again is always there, is looked up about once in 45 s,
// and shows a change within that time; when it is not asked for any more the lookups
// end, and it is forgotten.
func TestWhatIsAskedForIsKeptFresh(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = has(value("a", 3600))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		c.find(s.Target[:])
		for i := range 600 {
			if i == 300 {
				s.SetOther(has(value("a", 3600), value("b", 3600)))
			}
			time.Sleep(time.Second)
			values, took := c.find(s.Target[:])
			require.Zero(t, took, "at %d s", i)
			require.NotEmpty(t, values)
			if i > 300+45 {
				require.Len(t, values, 2)
			}
		}
		require.InDelta(t, 600/45, questions(s, nil), 2)
		time.Sleep(7 * time.Minute)
		before := questions(s, nil)
		time.Sleep(time.Hour)
		require.Equal(t, before, questions(s, nil), "nobody asks any more")
		require.Zero(t, d.resolver.Stats().Keys)
	})
}

// Who waits for something to be stored finds it soon after it is, though it asked
// before; and that costs no lookup, and few questions.
func TestWhatIsStoredAfterItWasAskedFor(t *testing.T) {
	for _, before := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
		t.Run(before.String(), func(t *testing.T) {
			play(t, 20, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				d := newDoor(t, s.Server, s)
				defer d.close()
				c := d.erlang()
				values, _ := c.find(s.Target[:])
				require.Empty(t, values)
				for start := time.Now(); time.Since(start) < before; {
					c.find(s.Target[:])
					time.Sleep(20 * time.Millisecond)
				}
				s.SetOther(after(routingtest.Delay, has(value("a", 60))))
				for stored := time.Now(); len(values) == 0; time.Sleep(20 * time.Millisecond) {
					values, _ = c.find(s.Target[:])
					require.Less(t, time.Since(stored), 2*time.Second)
				}
			})
		})
	}
	play(t, 20, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		c.find(s.Target[:])
		asked := questions(s, nil)
		for start := time.Now(); time.Since(start) < 14*time.Second; time.Sleep(20 * time.Millisecond) {
			c.find(s.Target[:])
		}
		require.LessOrEqual(t, questions(s, nil)-asked, 5*3)
		require.EqualValues(t, 1, d.resolver.Stats().Lookups)
		require.Zero(t, d.resolver.Stats().Refreshes)
	})
}

// A gateway that is asked after a miss of ours, and asks back, is answered at once.
func TestAMissOfOurOwn(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		erlang := s.ErlangIn(0, 7)
		s.Know(erlang)
		s.Other = after(10*time.Millisecond, names())
		d := newDoor(t, s.Server, s)
		defer d.close()
		var took time.Duration
		s.Replies[erlang.ID] = func(context.Context, wire.Message) (wire.Message, error) {
			_, took = d.gateway().find(s.Target[:])
			return &wire.FindValueReply{}, nil
		}
		took = -1
		_, err := d.resolver.lookups.Search(t.Context(), lookup.Search{Key: s.Target[:], OnMissed: func(closest []routing.Contact) {
			d.resolver.Missed(s.Target[:], closest)
		}})
		require.ErrorIs(t, err, records.ErrNotFound)
		require.Zero(t, took)
		time.Sleep(6 * time.Second)
		_, took = d.gateway().find(s.Target[:])
		require.NotZero(t, took, "it is not remembered for long")
		s.SetOther(has(value("a", 60)))
		time.Sleep(20 * time.Second)
		d.gateway().find(s.Target[:])
		d.resolver.Missed(s.Target[:], nil)
		values, _ := d.gateway().find(s.Target[:])
		require.Len(t, values, 1, "what is known is better")
	})
}

// What is remembered stays within its bounds, whatever is found, and what was asked
// for last stays longest.
func TestTheCacheIsBounded(t *testing.T) {
	big := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(provider("a"))}, wire.Pair{Key: "x", Value: wire.RawBytes(make([]byte, 60_000))})
	small := DefaultLimits()
	small.Bytes, small.Keys = 1<<20, 50
	for name, reply := range map[string]routingtest.Reply{"many keys": has(value("a", 3600)), "big values": has(big), "misses": names()} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = reply
				d := newDoor(t, s.Server, s, WithLimits(small))
				defer d.close()
				for i := range 200 {
					require.True(t, d.resolver.Resolve(number(i), records.Asker{}, nil))
					time.Sleep(time.Millisecond)
					stats := d.resolver.Stats()
					require.LessOrEqual(t, stats.Keys, small.Keys)
					require.LessOrEqual(t, stats.Bytes, small.Bytes)
				}
				_, recent := d.resolver.Known(number(199), records.Asker{})
				require.True(t, recent)
				_, recent = d.resolver.Known(number(0), records.Asker{})
				require.False(t, recent)
			})
		})
	}
}
