package lookup

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Of the nearest some have left, which is known of some of them. They cost no
// more than a slot, and what the others have is found.
func TestLookupsDoNotWaitForTheDead(t *testing.T) {
	const (
		slot = DefaultSlow + 2*routingtest.Delay
		next = leastSlot + 2*routingtest.Delay // of one beside which others have answered
	)
	tests := map[string]struct {
		known, dead, doubted int // of the nearest
		values               bool
		holders              int // of those that live
		asked                int
		within               time.Duration
		err                  error
	}{
		"nodes, one dead of three":                   {known: 3, dead: 1, asked: 3, within: slot},
		"nodes, forty that have left":                {known: 43, dead: 40, doubted: 40, asked: 3, within: 2 * routingtest.Delay},
		"nodes, k that live are enough":              {known: 60, dead: 20, doubted: 20, asked: 20, within: 2 * routingtest.Delay},
		"nodes, where nobody else is near":           {known: 30, dead: 29, doubted: 30, asked: 30, within: DefaultQueryTimeout},
		"values, one dead of three":                  {known: 3, dead: 1, values: true, holders: 2, asked: 5, within: next},
		"values, five dead, which fill the slots":    {known: 9, dead: 5, values: true, holders: 2, asked: 11, within: slot + next},
		"values, forty that have left":               {known: 43, dead: 40, doubted: 40, values: true, holders: 3, asked: 3, within: routingtest.Delay},
		"values, fewer holders than wanted":          {known: 43, dead: 40, doubted: 40, values: true, holders: 1, asked: 4, within: 2 * routingtest.Delay},
		"no values, so those that left are asked":    {known: 43, dead: 40, doubted: 40, values: true, asked: 23, within: slot, err: records.ErrNotFound},
		"no values, and one may be only slow":        {known: 3, dead: 1, values: true, asked: 3, within: DefaultQueryTimeout, err: records.ErrNotFound},
		"values, where all have left that are known": {known: 5, dead: 0, doubted: 5, values: true, holders: 1, asked: 6, within: 2 * routingtest.Delay},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 60, func(t *testing.T, s *script) {
				s.Know(s.Peers[:tt.known]...)
				for i, c := range s.Peers[:tt.known] {
					if i < tt.dead {
						s.Replies[c.ID] = never
					} else if i < tt.dead+tt.holders {
						s.Replies[c.ID] = after(routingtest.Delay, has(value(fmt.Sprint(i), 60)))
					}
					if i < tt.doubted {
						s.Server.Table().Doubt(c.ID, time.Now())
					}
				}
				find := lookups(s).Nodes
				if tt.values {
					find = lookups(s).Values
				}
				found, err := find(t.Context(), s.Target[:])
				require.ErrorIs(t, err, tt.err)
				require.LessOrEqual(t, time.Since(s.Start), tt.within)
				require.Len(t, found.Values, tt.holders)
				require.Len(t, s.Asked, tt.asked)
				require.NotEmpty(t, found.Closest)
			})
		})
	}
}

// Where all answers take long, those that have left have no longer than one of them.
func TestTheDoubtfulHaveAsLongAsTheOthers(t *testing.T) {
	const took = 400 * time.Millisecond
	play(t, 25, func(t *testing.T, s *script) {
		s.Know(s.Peers[:25]...)
		for i, c := range s.Peers[:25] {
			if i < 5 {
				s.Replies[c.ID] = never
				s.Server.Table().Doubt(c.ID, time.Now())
			} else {
				s.Replies[c.ID] = after(took, names())
			}
		}
		l := lookups(s, WithAlpha(20))
		_, err := l.Values(t.Context(), s.Target[:])
		require.ErrorIs(t, err, records.ErrNotFound)
		require.GreaterOrEqual(t, time.Since(s.Start), 2*took)
		require.LessOrEqual(t, time.Since(s.Start), 2*took+2*lookAgain)
	})
}

// Whom a lookup has waited for is not waited for again.
func TestTheDeadAreWaitedForOnce(t *testing.T) {
	play(t, 5, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		for _, c := range s.Peers[:2] {
			s.Replies[c.ID] = never
		}
		for i, within := range []time.Duration{DefaultSlow + routingtest.Delay, 2 * routingtest.Delay, 2 * routingtest.Delay} {
			start := time.Now()
			found, err := lookups(s).Nodes(t.Context(), s.Target[:])
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(start), within, "lookup %d", i)
			require.Equal(t, ids(s.Peers[2:]), ids(found.Closest))
		}
	})
}

// What came of nothing says why.
func TestLookupErrors(t *testing.T) {
	erlang := routingtest.Erlang(routing.IDFromBytes([]byte("e")), "https://192.0.2.1:1")
	tests := map[string]struct {
		contacts      func(s *script) []routing.Contact
		reply         reply
		nodes, values error
	}{
		"nobody is known":       {func(*script) []routing.Contact { return nil }, nil, ErrNoPeers, ErrNoPeers},
		"nobody answers":        {func(s *script) []routing.Contact { return s.Peers }, never, ErrUnanswered, ErrUnanswered},
		"nobody is reached":     {func(s *script) []routing.Contact { return s.Peers }, says(nil, proto.ErrUnreachable), ErrUnanswered, ErrUnanswered},
		"all are busy":          {func(s *script) []routing.Contact { return s.Peers }, says(nil, &proto.RemoteError{Code: "busy"}), ErrUnanswered, ErrUnanswered},
		"it is closed":          {func(s *script) []routing.Contact { return s.Peers }, says(nil, proto.ErrClosed), proto.ErrClosed, proto.ErrClosed},
		"all miss":              {func(s *script) []routing.Contact { return s.Peers }, names(), nil, records.ErrNotFound},
		"an Erlang node misses": {func(*script) []routing.Contact { return []routing.Contact{erlang} }, has(), nil, records.ErrNotFound},
		"it does not answer":    {func(*script) []routing.Contact { return []routing.Contact{erlang} }, says(nil, proto.ErrResting), nil, ErrUnanswered},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 3, func(t *testing.T, s *script) {
				s.Know(tt.contacts(s)...)
				if tt.reply != nil {
					s.Other = tt.reply
				}
				l := lookups(s)
				_, err := l.Nodes(t.Context(), s.Target[:])
				require.ErrorIs(t, err, tt.nodes)
				for range 2 { // an Erlang node that has missed is not asked again
					_, err = l.Values(t.Context(), s.Target[:])
					require.ErrorIs(t, err, tt.values)
					require.Equal(t, tt.values == records.ErrNotFound, errors.Is(err, records.ErrNotFound))
				}
			})
		})
	}
}

// Nor is one that leaves while it is asked.
func TestWhoLeavesMeanwhileIsNotWaitedFor(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Replies[s.Peers[0].ID] = never
		time.AfterFunc(routingtest.Delay, func() { s.Server.Table().Doubt(s.Peers[0].ID, time.Now()) })
		found, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(s.Start), 2*lookAgain)
		require.Equal(t, ids(s.Peers[1:]), ids(found.Closest))
	})
}
