package replication

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// large is a put of about 60 kB.
func large(key string, ttl time.Duration) records.Put {
	return put(key, "a", ttl, wire.Pair{Key: "data", Value: wire.RawBytes(make([]byte, 60_000))})
}

// passedOn returns how many records and bytes went out whose keys begin with a name.
func (w *world) passedOn(name string) (n, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, write := range w.writes {
		if key := string(write.args.Key); len(key) >= len(name) && key[:len(name)] == name {
			n, bytes = n+1, bytes+len(key)+len(write.args.Value)
		}
	}
	return n, bytes
}

// Who stores large values has fewer of them passed on, by however many addresses of one
// IP group, and keeps nobody waiting.
func TestBytes(t *testing.T) {
	limits := DefaultLimits()
	tests := map[string]struct {
		source, group   func(i int) string
		perSecond, once int
	}{
		"of one source": {func(int) string { return "192.0.2.1" }, func(int) string { return "" }, limits.BytesPerSource, limits.BytesBurstPerSource},
		"of one group": {func(i int) string { return fmt.Sprintf("2001:db8:0:%x::/64", i) }, func(int) string { return "2001:db8::/48" },
			limits.BytesPerGroup, limits.BytesBurstPerGroup},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, w *world) {
				for i := range 300 {
					w.stores(from(large(fmt.Sprint("large ", i), time.Hour), tt.source(i), tt.group(i)))
				}
				for i := range 50 {
					w.stores(from(put(fmt.Sprint("small ", i), "a", time.Hour), "203.0.113.1", "203.0.113.0/24"))
				}
				start := time.Now()
				for _, after := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute} {
					time.Sleep(time.Until(start.Add(after)))
					most := tt.once + int(after/time.Second)*tt.perSecond
					_, bytes := w.passedOn("large")
					require.InDelta(t, most, bytes, 2*70_000, "after %v", after)
					n, _ := w.passedOn("small")
					require.Equal(t, 50, n, "nobody else waits")
				}
				n, _ := w.passedOn("large")
				stats := w.adopter.Stats()
				require.Equal(t, 300-n, stats.Waiting)
				require.Positive(t, stats.Held)
				require.LessOrEqual(t, stats.Held, uint64(300))
			})
		})
	}
}

// A source of which nothing is left does not have all its bytes at once again.
func TestBytesAreNotForgotten(t *testing.T) {
	limits := DefaultLimits()
	play(t, 1, func(t *testing.T, w *world) {
		const rounds = 10
		for round := range rounds {
			for i := range 20 {
				w.stores(large(fmt.Sprint("large ", round, i), 2*time.Second))
			}
			time.Sleep(3 * time.Second)
			require.Zero(t, w.adopter.Stats().Records)
		}
		_, bytes := w.passedOn("large")
		require.LessOrEqual(t, bytes, limits.BytesBurstPerSource+3*rounds*limits.BytesPerSource+70_000)
		time.Sleep(time.Minute)
		w.adopter.mu.Lock()
		defer w.adopter.mu.Unlock()
		require.Empty(t, w.adopter.groups, "all is whole, and forgotten")
	})
}

// Whose value is on its way for long keeps nobody from going on when its bytes are back.
func TestHeldBesideAJobThatHangs(t *testing.T) {
	play(t, 1, func(t *testing.T, w *world) {
		for i := range 30 {
			for _, of := range []string{"192.0.2.1", "203.0.113.1"} {
				w.stores(from(large(fmt.Sprint("large ", of, i), time.Hour), of, ""))
			}
		}
		time.Sleep(3 * time.Second)
		w.set(false, true) // each takes as long as it may
		time.Sleep(5 * time.Second)
		require.GreaterOrEqual(t, w.adopter.Stats().Jobs, 4)
	})
}
