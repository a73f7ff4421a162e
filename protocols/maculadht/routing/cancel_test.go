package routing

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

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Cancelled at any point, a lookup returns at once, and no query is left.
func TestCancelAtAnyPoint(t *testing.T) {
	for seed := range uint64(150) {
		play(t, 200, func(t *testing.T, s *script) {
			rng := newRand(seed)
			s.know(s.peers[100:150]...)
			s.erlangs(5)
			for _, c := range s.peers {
				near := make([]Contact, 10)
				for i := range near {
					near[i] = s.peers[rng.IntN(len(s.peers))]
				}
				near = slices.DeleteFunc(near, func(o Contact) bool { return o.ID == c.ID })
				s.replies[c.ID] = after(time.Duration(rng.IntN(3000))*time.Millisecond, names(near...))
				if rng.IntN(4) == 0 {
					s.replies[c.ID] = never
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			end := time.Duration(rng.IntN(12_000)) * time.Millisecond
			start := time.Now()
			time.AfterFunc(end, cancel)
			l := s.lookups()
			find := l.Nodes
			if seed%2 == 0 {
				find = l.Values
			}
			found, err := find(ctx, s.target[:])
			require.LessOrEqual(t, time.Since(start), end)
			s.mu.Lock()
			require.Zero(t, s.inFlight)
			s.mu.Unlock()
			if ctx.Err() != nil {
				require.True(t, errors.Is(err, context.Canceled) || err == nil || errors.Is(err, records.ErrNotFound), "%v", err)
			}
			require.True(t, slices.IsSortedFunc(found.Closest, func(a, b Contact) int { return s.target.CompareDistance(a.ID, b.ID) }))
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	play(t, 20, func(t *testing.T, s *script) {
		s.know(s.peers...)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.lookups().Nodes(ctx, s.target[:])
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, s.asked)
	})
}

// In real time, with nobody to hide a goroutine.
func TestCancelLeavesNoGoroutine(t *testing.T) {
	server := newServer(t)
	for i := range 50 {
		server.Admit(scriptPeer(i))
	}
	l, err := NewLookups(server, silentNetwork{}, WithTimeouts(time.Second, time.Millisecond, time.Minute))
	require.NoError(t, err)
	before := goleak.IgnoreCurrent()
	for seed := range uint64(50) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(newRand(seed).IntN(5_000))*time.Microsecond)
		_, err := l.Values(ctx, []byte("key"))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		goleak.VerifyNone(t, before)
	}
}

type silentNetwork struct{}

func (silentNetwork) Send(context.Context, Contact, wire.Message) error { return nil }

func (silentNetwork) Query(ctx context.Context, _ Contact, m wire.Message) (wire.Message, error) {
	return never(ctx, m)
}

// In a network whose tables are as they should be, a lookup finds exactly the
// nearest.
func TestLookupFindsTheNearestOfAll(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := newRand(seed)
				s := newSim(t, 2+rng.IntN(20<<(seed/2)), rng)
				defer s.close()
				for range 20 {
					from, target := s.random(rng), randomID(rng)
					if rng.IntN(3) == 0 { // near somebody
						target = idAt(rng, s.random(rng).contact.ID, rng.IntN(20))
					}
					l, err := NewLookups(from.server, s.network(from), WithAlpha(1+rng.IntN(5)))
					require.NoError(t, err)
					found, err := l.Nodes(t.Context(), target[:])
					require.NoError(t, err)
					require.Equal(t, ids(s.nearest(target, BucketSize, from)), ids(found.Closest))
				}
			})
		})
	}
}
