package records

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
)

// heldStore is done with its updates when the test says so.
type heldStore struct {
	Store
	done chan func(error)
}

func (s heldStore) Update(_ context.Context, _ []byte, _ Durability, change func([]Record) []Record, done func(error)) {
	change(nil)
	s.done <- done
}

// What waits for a store that hangs is bounded in bytes, for all and for one source, and
// whoever waits for room ends with its context.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heldStore{NewMemoryStore(), make(chan func(error), 1<<10)}
		m, err := New(WithStore(store))
		require.NoError(t, err)
		defer m.Close()
		const size = 60_000
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan string, 10)
		putAll := func(source string) { // until ctx ends
			for ctx.Err() == nil {
				m.StoreThen(ctx, Put{Key: []byte("k"), Value: make([]byte, size), Source: Source{Name: source}}, func(err error) {
					if err != nil {
						require.ErrorIs(t, err, context.Canceled)
						ended <- source
					}
				})
			}
		}
		bytes := func() int { return len(store.done) * size }
		for i, source := range []string{"a", "b", "c", "d", "e"} {
			go putAll(source)
			synctest.Wait()
			require.LessOrEqual(t, bytes(), min(i+1, 4)*budget.MaxWaitingOfSource)
			require.Greater(t, bytes(), min(i+1, 4)*(budget.MaxWaitingOfSource-2*size), source)
		}
		before := len(store.done)
		(<-store.done)(nil)
		synctest.Wait()
		require.Len(t, store.done, before, "what comes takes the place of what goes")
		cancel()
		synctest.Wait()
		require.Len(t, ended, 5, "one of each")
		for len(store.done) > 0 {
			(<-store.done)(nil)
		}
		held, sources := m.waiting.Held()
		require.Zero(t, held)
		require.Zero(t, sources)
		go m.StoreThen(t.Context(), Put{Key: []byte("k"), Value: make([]byte, 2*budget.MaxWaiting), Source: Source{Name: "a"}}, func(error) {})
		synctest.Wait()
		require.Len(t, store.done, 1, "one that is larger than all the room, alone")
		(<-store.done)(nil)
	})
}

// The manager closes though a sweep waits for the store.
func TestSweepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryStore()
		memory.Update(t.Context(), []byte("k"), Soon, func([]Record) []Record { return []Record{{Value: []byte("v")}} }, func(error) {})
		store := heldStore{memory, make(chan func(error), 1)}
		m, err := New(WithStore(store))
		require.NoError(t, err)
		done := <-store.done // a sweep has begun
		require.NoError(t, m.Close())
		done(nil)
	})
}
