package records

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slowStore changes at once and is done when finish is called, as a disk is.
type slowStore struct {
	Store
	mu      sync.Mutex
	pending map[string][]Record
	updates []slowUpdate
	called  chan struct{} // an Update has been
}

type slowUpdate struct {
	durability Durability
	done       func(error)
}

func newSlowStore() *slowStore {
	return &slowStore{Store: NewMemoryStore(), pending: map[string][]Record{}, called: make(chan struct{}, 1000)}
}

func (s *slowStore) Update(ctx context.Context, key []byte, d Durability, change func([]Record) []Record, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, changed := s.pending[string(key)]
	if !changed {
		old, _ = s.Store.Get(ctx, key)
	}
	s.pending[string(key)] = change(old)
	s.updates = append(s.updates, slowUpdate{d, done})
	s.called <- struct{}{}
}

// finish ends what was called, all with err.
func (s *slowStore) finish(t *testing.T, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, recs := range s.pending {
		if err == nil {
			s.Store.Update(t.Context(), []byte(key), Soon, func([]Record) []Record { return recs }, func(err error) { require.NoError(t, err) })
		}
	}
	for _, u := range s.updates {
		u.done(err)
	}
	clear(s.pending)
	s.updates = nil
}

// What many puts at once cost is exact when the disk has taken them, and when it has not.
func TestStoreThen(t *testing.T) {
	store := newSlowStore()
	m := &traced{refused: map[Refusal]int{}}
	s, err := New(WithStore(store), WithMetricsTracer(m), WithLimits(Limits{Bytes: 20_000, BytesPerSource: 5_000}), WithSweepInterval(time.Hour))
	require.NoError(t, err)
	defer s.Close()
	puts := func(value int) (ended []error) {
		done := make([][]error, 40)
		for i := range done {
			p := sized(700+value, fmt.Sprint(i%8), fmt.Sprint("s", i%4))
			p.Synced = i%2 == 0
			s.StoreThen(t.Context(), p, func(err error) { done[i] = append(done[i], err) })
			require.Empty(t, done[i], "the disk has not written it")
			require.Equal(t, p.durability(), store.updates[i].durability)
		}
		store.finish(t, nil)
		for _, errs := range done {
			require.Len(t, errs, 1)
			ended = append(ended, errs[0])
		}
		return ended
	}
	for _, err := range puts(0) {
		require.NoError(t, err)
	}
	require.EqualValues(t, 8, s.Stats().Records)
	requireExact := func() {
		t.Helper()
		before := s.store
		s.store = store.Store
		requireLedgerExact(t, s)
		s.store = before
		requireTraced(t, s, m)
	}
	requireExact()
	before := s.Stats()

	var failures int
	for i := range 30 {
		s.StoreThen(t.Context(), sized(800+i, fmt.Sprint(i%12), fmt.Sprint("s", i%4)), func(err error) {
			require.ErrorIs(t, err, errDisk)
			require.ErrorIs(t, err, ErrStoreFailed)
			failures++
		})
	}
	store.finish(t, errDisk)
	require.Equal(t, 30, failures)
	require.Equal(t, before, s.Stats())
	requireExact()

	refused := make(chan error, 1)
	s.StoreThen(t.Context(), Put{Key: key, Value: []byte("v"), TTL: -1}, func(err error) { refused <- err })
	require.ErrorIs(t, <-refused, ErrExpired)
	s.StoreThen(t.Context(), sized(5_001, "large", "s"), func(err error) { refused <- err })
	store.finish(t, nil)
	err = <-refused
	require.ErrorIs(t, err, ErrSourceBudget)
	require.NotErrorIs(t, err, ErrStoreFailed)
	requireExact()
}

// Who waits for the disk waits no longer than the context says; the value may be kept
// all the same.
func TestStoreWaitsAsLongAsItsContext(t *testing.T) {
	store := newSlowStore()
	s := newManager(t, WithStore(store))
	ctx, cancel := context.WithCancel(t.Context())
	stored := make(chan error)
	go func() { stored <- s.Store(ctx, Put{Key: key, Value: []byte("v")}) }()
	<-store.called
	cancel()
	err := <-stored
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrStoreFailed)
	require.Zero(t, s.Stats().Stored)
	store.finish(t, nil)
	require.EqualValues(t, 1, s.Stats().Stored)
	recs, err := s.Values(t.Context(), key)
	require.NoError(t, err)
	require.Len(t, recs, 1)
}

// A sweep has all of its updates under way at once, so that they share a write.
func TestSweepDoesNotWaitForEach(t *testing.T) {
	store := newSlowStore()
	s := newManager(t, WithStore(store), WithSweepInterval(time.Hour))
	const keys = 100
	for i := range keys {
		s.StoreThen(t.Context(), Put{Key: fmt.Append(nil, i), Value: []byte("v"), TTL: time.Nanosecond}, func(err error) { require.NoError(t, err) })
		<-store.called
	}
	store.finish(t, nil)
	swept := make(chan struct{})
	go func() { s.sweep(t.Context()); close(swept) }()
	for range keys {
		<-store.called
	}
	store.finish(t, nil)
	<-swept
	require.EqualValues(t, keys, s.Stats().Expired)
	require.Zero(t, s.Stats().Records)
}

type failingStore struct{ Store }

func (failingStore) Failing() error { return errDisk }
func (failingStore) ID() []byte     { return []byte("the id of a disk") }

func TestManagerTellsOfItsStore(t *testing.T) {
	s := newManager(t)
	require.NoError(t, s.Failing())
	require.Len(t, s.StoreID(), 16)
	require.NotEqual(t, newManager(t).StoreID(), s.StoreID())
	s = newManager(t, WithStore(failingStore{NewMemoryStore()}))
	require.ErrorIs(t, s.Failing(), errDisk)
	require.Equal(t, "the id of a disk", string(s.StoreID()))
}
