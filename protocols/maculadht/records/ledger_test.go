package records

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// requireLedgerExact compares the ledger with what the store really holds.
func requireLedgerExact(t *testing.T, s *Manager) {
	t.Helper()
	var bytes, records, keys int64
	sources := map[string]int64{}
	store := s.store
	if broken, ok := store.(*brokenStore); ok {
		store = broken.Store
	}
	eachKey(t, store, func(key []byte, recs []Record) {
		keys++
		for i := range recs {
			records++
			bytes += Cost(key, &recs[i])
			sources[recs[i].Source] += Cost(key, &recs[i])
		}
	})
	require.Equal(t, sources, s.ledger.sources)
	stats := s.Stats()
	require.Equal(t, bytes, stats.Bytes)
	require.Equal(t, records, stats.Records)
	require.Equal(t, keys, stats.Keys)
}

// sized returns a put that costs exactly n bytes.
func sized(n int, nodeID, source string) Put {
	return Put{Key: key, NodeID: []byte(nodeID), Value: make([]byte, n-len(key)-RecordOverhead), Source: source}
}

func TestStoreBudget(t *testing.T) {
	const total, perSource = 3000, 1000
	type put struct {
		put  Put
		want error
	}
	tests := []struct {
		name  string
		puts  []put
		bytes int64
	}{
		{"to the last byte of the source", []put{{sized(1000, "a", "s"), nil}}, 1000},
		{"one more", []put{{sized(1001, "a", "s"), ErrSourceBudget}}, 0},
		{"sources do not share", []put{
			{sized(1000, "a", "s"), nil}, {sized(300, "b", "s"), ErrSourceBudget}, {sized(300, "c", "t"), nil},
		}, 1300},
		{"replacing costs the difference", []put{
			{sized(900, "a", "s"), nil}, {sized(1000, "a", "s"), nil}, {sized(300, "a", "s"), nil},
			{sized(700, "b", "s"), nil}, {sized(301, "a", "s"), ErrSourceBudget},
		}, 1000},
		{"the new source pays", []put{
			{sized(1000, "a", "s"), nil}, {sized(1000, "a", "t"), nil}, {sized(1000, "b", "s"), nil},
			{sized(300, "c", "t"), ErrSourceBudget},
		}, 2000},
		{"the store is full", []put{
			{sized(1000, "a", "s"), nil}, {sized(1000, "b", "t"), nil}, {sized(900, "c", "u"), nil},
			{sized(300, "d", "v"), ErrStoreFull}, {sized(1000, "c", "v"), nil}, {sized(300, "d", "w"), ErrStoreFull},
		}, 3000},
		{"our own have no limit", []put{
			{sized(2500, "a", ""), nil}, {sized(1000, "b", "s"), ErrStoreFull}, {sized(2500, "c", ""), nil},
		}, 5000},
		{"over the limit what does not grow is welcome", []put{
			{sized(1000, "a", "s"), nil}, {sized(2500, "b", ""), nil}, {sized(1000, "a", "s"), nil},
			{sized(1000, "a", "t"), nil}, {sized(999, "a", "t"), nil}, {sized(1000, "a", "t"), ErrStoreFull},
		}, 3499},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newManager(t, WithLimits(Limits{Bytes: total, BytesPerSource: perSource}))
			var over uint64
			for i, p := range tt.puts {
				require.ErrorIs(t, s.Store(t.Context(), p.put), p.want, "put %d", i)
				if p.want != nil {
					over++
				}
				requireLedgerExact(t, s)
			}
			require.Equal(t, tt.bytes, s.Stats().Bytes)
			require.Equal(t, over, s.Stats().OverBudget)
		})
	}
}

func TestExpiryFreesBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(WithLimits(Limits{Bytes: 1000, BytesPerSource: 1000}), WithSweepInterval(time.Hour))
		require.NoError(t, err)
		defer s.Close()
		first := sized(1000, "a", "s")
		first.TTL = time.Second
		require.NoError(t, s.Store(t.Context(), first))
		time.Sleep(time.Second)
		require.ErrorIs(t, s.Store(t.Context(), sized(1001, "b", "s")), ErrSourceBudget)
		require.Zero(t, s.Stats().Bytes, "dropped though the put was refused")
		require.NoError(t, s.Store(t.Context(), sized(1000, "b", "s")))
		require.EqualValues(t, 1, s.Stats().Expired)
		requireLedgerExact(t, s)
	})
}

var errDisk = errors.New("disk")

// brokenStore runs each change and then fails to keep it.
type brokenStore struct {
	Store
	broken atomic.Bool
}

func (b *brokenStore) Get(ctx context.Context, key []byte) ([]Record, error) {
	if b.broken.Load() {
		return nil, errDisk
	}
	return b.Store.Get(ctx, key)
}

func (b *brokenStore) Update(ctx context.Context, key []byte, change func([]Record) []Record) error {
	if !b.broken.Load() {
		return b.Store.Update(ctx, key, change)
	}
	old, _ := b.Store.Get(ctx, key)
	change(old)
	return errDisk
}

func TestFailedUpdateIsNotCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{Store: NewMemoryStore()}
		s, err := New(WithStore(store))
		require.NoError(t, err)
		defer s.Close()
		short := sized(500, "a", "s")
		short.TTL = time.Second
		require.NoError(t, s.Store(t.Context(), short))
		require.NoError(t, s.Store(t.Context(), sized(600, "b", "s")))
		time.Sleep(time.Second)
		before := s.Stats()

		store.broken.Store(true)
		require.ErrorIs(t, s.Store(t.Context(), sized(700, "b", "t")), errDisk)
		require.ErrorIs(t, s.Store(t.Context(), sized(700, "c", "t")), errDisk)
		_, err = s.Values(t.Context(), key)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, before, s.Stats())
		requireLedgerExact(t, s)

		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 1, s.Stats().SweepFailures)
		store.broken.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 1, s.Stats().Records)
		requireLedgerExact(t, s)
	})
}

func TestLedgerIsLoadedFromTheStore(t *testing.T) {
	store := NewMemoryStore()
	first := newManager(t, WithStore(store))
	require.NoError(t, first.Store(t.Context(), sized(500, "a", "s")))
	require.NoError(t, first.Store(t.Context(), sized(600, "b", "")))

	second := newManager(t, WithStore(store), WithLimits(Limits{Bytes: 1500, BytesPerSource: 400}))
	require.EqualValues(t, 1100, second.Stats().Bytes)
	requireLedgerExact(t, second)
	require.ErrorIs(t, second.Store(t.Context(), sized(300, "c", "s")), ErrSourceBudget)
	require.ErrorIs(t, second.Store(t.Context(), sized(501, "a", "s")), ErrSourceBudget)
	require.NoError(t, second.Store(t.Context(), sized(500, "a", "s")), "over its limit, but no larger")
	requireLedgerExact(t, second)
}
