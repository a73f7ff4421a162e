package records

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// watchedStore counts what it is asked, and fails to update keys whose number is
// below broken.
type watchedStore struct {
	Store
	gets, pages, updates atomic.Int64
	broken               atomic.Int64
	blocked              error // of Expired
}

func (w *watchedStore) Get(ctx context.Context, key []byte) ([]Record, error) {
	w.gets.Add(1)
	return w.Store.Get(ctx, key)
}

func (w *watchedStore) Keys(ctx context.Context, prefix []byte, cursor Cursor, max int) ([][]byte, Cursor, error) {
	w.pages.Add(1)
	return w.Store.Keys(ctx, prefix, cursor, max)
}

func (w *watchedStore) Expired(ctx context.Context, now time.Time, max int) ([][]byte, error) {
	if w.blocked != nil {
		return nil, w.blocked
	}
	return w.Store.Expired(ctx, now, max)
}

func (w *watchedStore) Update(ctx context.Context, key []byte, d Durability, change func([]Record) []Record, done func(error)) {
	w.updates.Add(1)
	if i, err := strconv.ParseInt(string(key), 10, 64); err == nil && i < w.broken.Load() {
		done(errDisk)
		return
	}
	w.Store.Update(ctx, key, d, change, done)
}

// Neither the start nor the sweeper goes through what is stored.
func TestNothingIsScanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, due = 5000, 3*sweepBatch + 7
		store := &watchedStore{Store: NewMemoryStore()}
		first, err := New(WithStore(store))
		require.NoError(t, err)
		for i := range keys {
			ttl := time.Hour
			if i < due {
				ttl = time.Second
			}
			require.NoError(t, first.Store(t.Context(), Put{Key: fmt.Append(nil, i), Value: []byte("v"), TTL: ttl, Source: stranger("s")}))
		}
		require.NoError(t, first.Close())
		store.updates.Store(0)

		second, err := New(WithStore(store))
		require.NoError(t, err)
		defer second.Close()
		require.EqualValues(t, keys, second.Stats().Keys)
		time.Sleep(DefaultSweepInterval)
		synctest.Wait()
		require.EqualValues(t, due, second.Stats().Expired)
		require.EqualValues(t, keys-due, second.Stats().Records)
		require.EqualValues(t, due, store.updates.Load(), "one for each that is due")
		require.Zero(t, store.pages.Load())
		require.Zero(t, store.gets.Load())
		requireLedgerExact(t, second)
	})
}

// What can not be swept now does not keep the rest from being swept, and is left
// for the next time.
func TestSweepPastWhatFails(t *testing.T) {
	for name, broken := range map[string]int{
		"none":          0,
		"some":          sweepBatch / 2,
		"a whole batch": sweepBatch,
	} {
		t.Run(name, func(t *testing.T) {
			const keys = 4 * sweepBatch
			synctest.Test(t, func(t *testing.T) {
				store := &watchedStore{Store: NewMemoryStore()}
				s, err := New(WithStore(store))
				require.NoError(t, err)
				defer s.Close()
				for i := range keys {
					require.NoError(t, s.Store(t.Context(), Put{Key: fmt.Append(nil, i), Value: []byte("v"), TTL: time.Second}))
				}
				store.broken.Store(int64(broken))
				time.Sleep(DefaultSweepInterval)
				synctest.Wait()
				stats := s.Stats()
				require.GreaterOrEqual(t, stats.SweepFailures, uint64(broken))
				if broken < sweepBatch {
					require.EqualValues(t, keys-broken, stats.Expired)
				}
				store.broken.Store(0)
				time.Sleep(DefaultSweepInterval)
				synctest.Wait()
				require.Zero(t, s.Stats().Records)
			})
		})
	}
}

func TestSweepOfAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &watchedStore{Store: NewMemoryStore(), blocked: errDisk}
		s, err := New(WithStore(store))
		require.NoError(t, err)
		defer s.Close()
		time.Sleep(2 * DefaultSweepInterval)
		synctest.Wait()
		require.EqualValues(t, 2, s.Stats().SweepFailures)
	})
}

// A visitor sees each key as it is when its turn comes, and what has gone not at
// all.
func TestRangeReadsAfresh(t *testing.T) {
	s := newManager(t)
	const keys = 3 * pageSize
	for i := range keys {
		require.NoError(t, s.Store(t.Context(), Put{Key: fmt.Append(nil, i), NodeID: []byte("n"), Value: []byte("old")}))
	}
	visited, old := 0, 0
	require.NoError(t, s.Range(t.Context(), nil, func(_ []byte, recs []Record) bool {
		if visited == 0 {
			for i := range keys {
				require.NoError(t, s.Store(t.Context(), Put{Key: fmt.Append(nil, i), NodeID: []byte("n"), Value: []byte("new")}))
			}
		}
		visited++
		if string(recs[0].Value) == "old" {
			old++
		}
		return true
	}))
	require.Equal(t, keys, visited)
	require.Equal(t, 1, old, "the first")
}

// A visitor that stops early sees other keys each time.
func TestRangeBeginsAnywhere(t *testing.T) {
	s := newManager(t)
	for i := range 1000 {
		require.NoError(t, s.Store(t.Context(), Put{Key: fmt.Append(nil, i), Value: []byte("v")}))
	}
	first := map[string]bool{}
	for range 100 {
		require.NoError(t, s.Range(t.Context(), nil, func(key []byte, _ []Record) bool {
			first[string(key)] = true
			return false
		}))
	}
	require.Greater(t, len(first), 50)
}

func TestContextsEnd(t *testing.T) {
	s := newManager(t)
	require.NoError(t, s.Store(t.Context(), Put{Key: key, Value: []byte("v")}))
	ctx, cancel := context.WithCancel(t.Context())
	visited := 0
	require.NoError(t, s.Range(ctx, nil, func([]byte, []Record) bool { visited++; cancel(); return true }))
	require.Equal(t, 1, visited)
	require.ErrorIs(t, s.Range(ctx, nil, func([]byte, []Record) bool { return true }), context.Canceled)
	err := s.Store(ctx, Put{Key: key, Value: []byte("other")})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrStoreFailed)
	_, err = s.Values(ctx, key)
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 1, s.Stats().Records)
	requireLedgerExact(t, s)
}

// traced counts what it is told.
type traced struct {
	mu                                 sync.Mutex
	stored, replaced, evicted, gaveWay int
	expired, sweepFailures             int
	refused                            map[Refusal]int
	keys, records, bytes               int64
}

func (m *traced) do(f func()) { m.mu.Lock(); defer m.mu.Unlock(); f() }

func (m *traced) Stored(replaced bool) {
	m.do(func() {
		if replaced {
			m.replaced++
		} else {
			m.stored++
		}
	})
}
func (m *traced) Refused(reason Refusal) { m.do(func() { m.refused[reason]++ }) }
func (m *traced) Expired(records int)    { m.do(func() { m.expired += records }) }
func (m *traced) Evicted(why Eviction) {
	m.do(func() {
		if why == EvictedKey {
			m.evicted++
		} else {
			m.gaveWay++
		}
	})
}
func (m *traced) SweepFailed() { m.do(func() { m.sweepFailures++ }) }
func (m *traced) Changed(keys, records, bytes int64) {
	m.do(func() { m.keys += keys; m.records += records; m.bytes += bytes })
}

// requireTraced compares what a tracer was told with the stats.
func requireTraced(t *testing.T, s *Manager, m *traced) {
	t.Helper()
	stats := s.Stats()
	usage, err := s.store.Usage(t.Context())
	require.NoError(t, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Equal(t, stats, Stats{
		Records: m.records, Keys: m.keys, Bytes: m.bytes,
		OwnedRecords: usage.Owned.Records, OwnedBytes: usage.Owned.Bytes + usage.Owned.Records*RecordOverhead,
		Stored: uint64(m.stored), Replaced: uint64(m.replaced), NotOwner: uint64(m.refused[RefusedNotOwner]), KeyFull: uint64(m.refused[RefusedKeyFull]),
		OverBudget: uint64(m.refused[RefusedSourceBudget] + m.refused[RefusedGroupBudget] + m.refused[RefusedStoreFull] + m.refused[RefusedFar]),
		Expired:    uint64(m.expired), Evicted: uint64(m.evicted), GaveWay: uint64(m.gaveWay), SweepFailures: uint64(m.sweepFailures),
	})
}

func TestMetricsTracer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{Store: NewMemoryStore()}
		m := &traced{refused: map[Refusal]int{}}
		s, err := New(WithStore(store), WithMetricsTracer(m), WithLimits(Limits{Bytes: 1 << 20, BytesPerSource: 1000, BytesPerGroup: 1500}))
		require.NoError(t, err)
		put := func(p Put) { p.Key = key; _ = s.Store(t.Context(), p); requireTraced(t, s, m) }
		put(by(string(alice), "1").from(alice))
		put(by(string(alice), "22").from(alice))
		put(by(string(alice), "3").from(bob))
		put(by("b", "4").ttl(-1))
		put(sized(1001, "a", "s"))
		put(sized(800, "c", "").of(Source{Name: "t", Group: "g"}).ttl(10 * time.Second))
		put(sized(800, "d", "").of(Source{Name: "u", Group: "g"}))
		put(sized(1<<20, "a", "").ttl(10 * time.Second))
		put(sized(900, "b", "s"))
		for i := range MaxProviders {
			put(by(fmt.Sprint(i), "v").ttl(5 * time.Second))
		}
		put(by("short", "v").ttl(4 * time.Second))
		time.Sleep(5 * time.Second)
		put(by("b", "5").ttl(5 * time.Second))
		store.broken.Store(true)
		put(by("b", "6"))
		time.Sleep(time.Minute)
		synctest.Wait()
		requireTraced(t, s, m)
		store.broken.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		requireTraced(t, s, m)
		require.NoError(t, s.Close()) // nothing is told any more
		require.Equal(t, map[Refusal]int{RefusedNotOwner: 1, RefusedExpired: 1, RefusedSourceBudget: 1, RefusedGroupBudget: 1, RefusedStoreFull: 1, RefusedKeyFull: 1, RefusedStoreFailed: 1}, m.refused)
		require.Positive(t, m.evicted)
		require.Equal(t, 1, m.sweepFailures)
		require.EqualValues(t, 1, m.records, "alice's")

		again := &traced{refused: map[Refusal]int{}}
		second, err := New(WithStore(store), WithMetricsTracer(again))
		require.NoError(t, err)
		defer second.Close()
		requireTraced(t, second, again)
		require.EqualValues(t, 1, again.records, "that were there")
	})
}

func TestRefusals(t *testing.T) {
	for err, want := range map[error]Refusal{
		ErrNotOwner: RefusedNotOwner, ErrExpired: RefusedExpired, ErrSourceBudget: RefusedSourceBudget, ErrGroupBudget: RefusedGroupBudget,
		ErrStoreFull: RefusedStoreFull, ErrFar: RefusedFar, ErrKeyFull: RefusedKeyFull, context.Canceled: RefusedStoreFailed, errors.New("x"): RefusedStoreFailed,
	} {
		require.Equal(t, want, refusal(fmt.Errorf("wrapped: %w", err)))
	}
}
