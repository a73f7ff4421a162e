package lookup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Cancelled at any point, a lookup returns at once, and no query is left.
func TestCancelAtAnyPoint(t *testing.T) {
	for seed := range uint64(150) {
		play(t, 200, func(t *testing.T, s *script) {
			rng := routingtest.Rand(seed)
			s.Know(s.Peers[100:150]...)
			erlangs(s, 5)
			for _, c := range s.Peers {
				near := make([]routing.Contact, 10)
				for i := range near {
					near[i] = s.Peers[rng.IntN(len(s.Peers))]
				}
				near = slices.DeleteFunc(near, func(o routing.Contact) bool { return o.ID == c.ID })
				s.Replies[c.ID] = after(time.Duration(rng.IntN(3000))*time.Millisecond, names(near...))
				if rng.IntN(4) == 0 {
					s.Replies[c.ID] = never
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			end := time.Duration(rng.IntN(12_000)) * time.Millisecond
			start := time.Now()
			time.AfterFunc(end, cancel)
			l := lookups(s)
			find := l.Nodes
			if seed%2 == 0 {
				find = l.Values
			}
			found, err := find(ctx, s.Target[:])
			require.LessOrEqual(t, time.Since(start), end)
			s.Mu.Lock()
			require.Zero(t, s.InFlight)
			s.Mu.Unlock()
			if ctx.Err() != nil {
				require.True(t, errors.Is(err, context.Canceled) || err == nil || errors.Is(err, records.ErrNotFound), "%v", err)
			}
			require.True(t, slices.IsSortedFunc(found.Closest, func(a, b routing.Contact) int { return s.Target.CompareDistance(a.ID, b.ID) }))
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	play(t, 20, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := lookups(s).Nodes(ctx, s.Target[:])
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, s.Asked)
	})
}

// In real time, with nobody to hide a goroutine.
func TestCancelLeavesNoGoroutine(t *testing.T) {
	server := routingtest.NewServer(t)
	for i := range 50 {
		server.Admit(routingtest.Peer(i))
	}
	l, err := New(server, routingtest.Silent{}, WithTimeouts(time.Second, time.Millisecond, time.Minute))
	require.NoError(t, err)
	before := goleak.IgnoreCurrent()
	for seed := range uint64(50) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(routingtest.Rand(seed).IntN(5_000))*time.Microsecond)
		_, err := l.Values(ctx, []byte("key"))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		goleak.VerifyNone(t, before)
	}
}

// In a network whose tables are as they should be, a lookup finds exactly the
// nearest.
func TestLookupFindsTheNearestOfAll(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := routingtest.Rand(seed)
				s := routingtest.NewSim(t, 2+rng.IntN(20<<(seed/2)), rng)
				defer s.Close()
				for range 20 {
					from, target := s.Random(rng), routingtest.RandomID(rng)
					if rng.IntN(3) == 0 { // near somebody
						target = routingtest.IDAt(rng, s.Random(rng).Contact.ID, rng.IntN(20))
					}
					l, err := New(from.Server, s.Network(from), WithAlpha(1+rng.IntN(5)))
					require.NoError(t, err)
					found, err := l.Nodes(t.Context(), target[:])
					require.NoError(t, err)
					require.Equal(t, ids(s.Nearest(target, routing.BucketSize, from)), ids(found.Closest))
				}
			})
		})
	}
}
