package maculadht

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// Closed at any moment, with whatever under way, a service ends soon, and so does
// what was under way.
func TestCloseAtAnyMoment(t *testing.T) {
	other := newService(t, dhttest.Host(t), handOverAtOnce())
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s, err := New(dhttest.Host(t), quick())
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		use := func(f func(context.Context)) {
			at := time.Duration(rng.IntN(50)) * time.Millisecond
			users.Go(func() { time.Sleep(at); f(ctx) })
		}
		use(func(ctx context.Context) { _ = s.Join(ctx, infoOf(other.host)) })
		for _, name := range []string{"a", "b", "c"} {
			withdraw := time.Duration(rng.IntN(100)) * time.Millisecond
			use(func(ctx context.Context) {
				if a, err := s.AdvertiseService(ctx, Offer{Name: name, Endpoint: "https://127.0.0.1:1", TTL: time.Second}); err == nil {
					time.Sleep(withdraw)
					a.Withdraw()
				}
			})
			use(func(ctx context.Context) { _, _ = s.FindProviders(ctx, name) })
			use(func(ctx context.Context) { _, _ = s.Store(ctx, keyOf(name), dhttest.Value("me")) })
		}
		use(func(context.Context) { s.SetMode(ModeClient) })
		if rng.IntN(2) == 0 {
			use(func(context.Context) { cancel() })
		}
		time.Sleep(time.Duration(rng.IntN(120)) * time.Millisecond)

		ended := make(chan error, 1)
		go func() {
			err := s.Close()
			users.Wait()
			ended <- err
		}()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(dhttest.Patience):
			require.Fail(t, "does not end")
		}
		cancel()
	}
}
