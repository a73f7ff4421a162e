package records

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
)

// requireLedgerExact compares the ledger with what the store really holds.
func requireLedgerExact(t *testing.T, s *Manager) {
	t.Helper()
	var bytes, records, keys int64
	sources, groups := map[string]budget.Stored{}, map[string]budget.Stored{}
	var all []Source
	store := s.store
	if broken, ok := store.(*brokenStore); ok {
		store = broken.Store
	}
	eachKey(t, store, func(key []byte, recs []Record) {
		keys++
		for i := range recs {
			records++
			cost := Cost(key, &recs[i])
			bytes += cost
			who := recs[i].Source
			all = append(all, who)
			sources[who.Name] = budget.Stored{Bytes: sources[who.Name].Bytes + cost, Records: sources[who.Name].Records + 1}
			if who.Group != "" {
				groups[who.Group] = budget.Stored{Bytes: groups[who.Group].Bytes + cost, Records: groups[who.Group].Records + 1}
			}
		}
	})
	for _, who := range all {
		ofSource, ofGroup := s.ledger.Used(who)
		require.Equal(t, sources[who.Name], ofSource, who)
		require.Equal(t, groups[who.Group], ofGroup, who)
	}
	require.Equal(t, budget.StorageTotals{
		Stored: budget.Stored{Bytes: bytes, Records: records}, Sources: len(sources), Groups: len(groups),
	}, s.ledger.Usage())
	stats := s.Stats()
	require.Equal(t, bytes, stats.Bytes)
	require.Equal(t, records, stats.Records)
	require.Equal(t, keys, stats.Keys)
}

// sized returns a put that costs exactly n bytes, of a stranger or, without a
// name, of this node.
func sized(n int, nodeID, source string) Put {
	p := Put{Key: key, NodeID: []byte(nodeID), Value: make([]byte, n-len(key)-RecordOverhead)}
	if source != "" {
		p.Source = stranger(source)
	}
	return p
}

func (p Put) of(source Source) Put { p.Source = source; return p }

func TestStoreBudget(t *testing.T) {
	const total, perGroup, perSource = 30_000, 15_000, 10_000
	s1, s2, local := Source{Name: "s1", Group: "g"}, Source{Name: "s2", Group: "g"}, Source{Name: "local"}
	type put struct {
		put  Put
		want error
	}
	tests := []struct {
		name  string
		puts  []put
		bytes int64
	}{
		{"to the last byte of the source", []put{{sized(10000, "a", "s"), nil}}, 10000},
		{"one more", []put{{sized(10001, "a", "s"), ErrSourceBudget}}, 0},
		{"sources do not share", []put{
			{sized(10000, "a", "s"), nil}, {sized(3000, "b", "s"), ErrSourceBudget}, {sized(3000, "c", "t"), nil},
		}, 13000},
		{"replacing costs the difference", []put{
			{sized(9000, "a", "s"), nil}, {sized(10000, "a", "s"), nil}, {sized(3000, "a", "s"), nil},
			{sized(7000, "b", "s"), nil}, {sized(3001, "a", "s"), ErrSourceBudget},
		}, 10000},
		{"the new source pays", []put{
			{sized(10000, "a", "s"), nil}, {sized(10000, "a", "t"), nil}, {sized(10000, "b", "s"), nil},
			{sized(3000, "c", "t"), ErrSourceBudget},
		}, 20000},
		{"a group's sources share its budget", []put{
			{sized(10000, "a", "").of(s1), nil}, {sized(5001, "b", "").of(s2), ErrGroupBudget}, {sized(5000, "b", "").of(s2), nil},
			{sized(1000, "c", "").of(s2), ErrGroupBudget}, {sized(9000, "a", "").of(s1), nil}, {sized(1000, "c", "").of(s2), nil},
		}, 15000},
		{"a source of no group pays for itself", []put{
			{sized(10000, "a", "").of(s1), nil}, {sized(10000, "b", "").of(local), nil}, {sized(1000, "c", "").of(local), ErrSourceBudget},
		}, 20000},
		{"the store is full of those who have no more", []put{
			{sized(10000, "a", "s"), nil}, {sized(10000, "b", "t"), nil}, {sized(10000, "c", "u"), nil},
			{sized(10000, "d", "v"), ErrStoreFull}, {sized(10000, "c", "v"), nil},
		}, 30000},
		{"the heaviest gives way", []put{
			{sized(10000, "a", "s"), nil}, {sized(10000, "b", "t"), nil}, {sized(9000, "c", "u"), nil}, {sized(3000, "d", "v"), nil},
		}, 22000},
		{"our own have no limit, and others give way", []put{
			{sized(25000, "a", ""), nil}, {sized(10000, "b", "s"), ErrStoreFull}, {sized(5000, "b", "s"), nil}, {sized(25000, "c", ""), nil},
		}, 50000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newManager(t, WithLimits(Limits{Bytes: total, BytesPerSource: perSource, BytesPerGroup: perGroup}))
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

func (b *brokenStore) Update(ctx context.Context, key []byte, d Durability, change func([]Record) []Record, done func(error)) {
	if !b.broken.Load() {
		b.Store.Update(ctx, key, d, change, done)
		return
	}
	old, _ := b.Store.Get(ctx, key)
	change(old)
	done(errDisk)
}

func TestFailedUpdateIsNotCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{Store: NewMemoryStore()}
		s, err := New(WithStore(store))
		require.NoError(t, err)
		defer s.Close()
		short := sized(1500, "a", "s")
		short.TTL = time.Second
		require.NoError(t, s.Store(t.Context(), short))
		require.NoError(t, s.Store(t.Context(), sized(1600, "b", "s")))
		time.Sleep(time.Second)
		before := s.Stats()

		store.broken.Store(true)
		err = s.Store(t.Context(), sized(1700, "b", "t"))
		require.ErrorIs(t, err, errDisk)
		require.ErrorIs(t, err, ErrStoreFailed)
		require.ErrorIs(t, s.Store(t.Context(), sized(1700, "c", "t")), errDisk)
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
	require.NoError(t, first.Store(t.Context(), sized(1500, "a", "s")))
	require.NoError(t, first.Store(t.Context(), sized(1600, "b", "")))

	second := newManager(t, WithStore(store), WithLimits(Limits{Bytes: 3500, BytesPerSource: 1400}))
	require.EqualValues(t, 3100, second.Stats().Bytes)
	requireLedgerExact(t, second)
	require.ErrorIs(t, second.Store(t.Context(), sized(1000, "c", "s")), ErrSourceBudget)
	require.ErrorIs(t, second.Store(t.Context(), sized(1501, "a", "s")), ErrSourceBudget)
	require.NoError(t, second.Store(t.Context(), sized(1500, "a", "s")), "over its limit, but no larger")
	requireLedgerExact(t, second)
}
