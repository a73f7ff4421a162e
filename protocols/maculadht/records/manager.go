package records

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/internal/residents"
)

// ErrNotFound means that nothing live is stored under a key.
var ErrNotFound = errors.New("not found")

// ErrStoreFailed means that the store below could not do what was asked, be it that a
// value has broken no rule; with it is why.
var ErrStoreFailed = errors.New("the store of records failed")

const (
	// pageSize is how many keys Range reads at a time.
	pageSize = 128
	// sweepBatch is how many keys the sweeper reads at a time.
	sweepBatch = 256
)

// Manager keeps records in a [Store] by the rules, and drops those that have
// expired. It is safe for concurrent use.
type Manager struct {
	store    Store
	limits   Limits
	ledger   *budget.Storage // posted to in the store's updates, and corrected when one fails, so exact
	waiting  *budget.Waiting
	keys     atomic.Int64
	owned    struct{ records, bytes atomic.Int64 }
	counters counters
	tracer   MetricsTracer

	residents     *residents.Set // posted to as the ledger is
	underWay      atomic.Int64   // how many bytes the updates whose change has not run may add to what is stored
	moving        sync.Mutex     // held while bytes move between underWay and the ledger, and while both are added up
	neighbourhood atomic.Pointer[Neighbourhood]
	unknown       atomic.Bool   // the store has records of strangers that are no residents yet
	find          chan struct{} // has a token when these are to be found

	onChange atomic.Pointer[func(key []byte)] // nil for nobody, see SetOnChange

	storings, waits sync.Pool // of *storing and *wait

	stopSweeper context.CancelFunc
	sweeper     sync.WaitGroup
	closeOnce   func() error
}

// New returns a manager and starts its sweeper. Close it to stop that. It fails on
// a bad option, and when what a store given with [WithStore] holds can not be read.
func New(opts ...Option) (*Manager, error) {
	cfg := config{
		limits:        Limits{}.orDefault(),
		sweepInterval: DefaultSweepInterval,
		tracer:        noTracer{},
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("records: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("records option: %w", err)
		}
	}
	if cfg.store == nil {
		cfg.store = NewMemoryStore()
	}
	ledger, err := budget.NewStorage(budget.StorageLimits{
		Source: cfg.limits.BytesPerSource, Group: cfg.limits.BytesPerGroup, Total: cfg.limits.Bytes,
	})
	if err != nil {
		return nil, fmt.Errorf("limits of records: %w", err)
	}
	m := &Manager{
		store: cfg.store, limits: cfg.limits, ledger: ledger, waiting: budget.NewWaiting(), tracer: cfg.tracer,
		residents: residents.NewSet(), find: make(chan struct{}, 1),
	}
	m.storings.New = func() any { return newStoring(m) }
	m.waits.New = newWait
	m.closeOnce = sync.OnceValue(m.shutdown)

	ctx, cancel := context.WithCancel(context.Background())
	usage, err := m.store.Usage(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read what is stored: %w", err)
	}
	for source, u := range usage.Sources {
		if !source.IsOwn() {
			m.unknown.Store(true)
		}
		m.ledger.Load(source, budget.Stored{Bytes: u.Bytes + u.Records*RecordOverhead, Records: u.Records})
	}
	m.keys.Store(usage.Keys)
	m.owned.records.Store(usage.Owned.Records)
	m.owned.bytes.Store(usage.Owned.Bytes + usage.Owned.Records*RecordOverhead)
	stored := m.ledger.Usage()
	m.tracer.Changed(usage.Keys, stored.Records, stored.Bytes)

	m.stopSweeper = cancel
	m.sweeper.Go(func() { m.sweepEvery(ctx, cfg.sweepInterval) })
	return m, nil
}

// Close stops the sweeper, waits for it and closes the store, for as long as that takes
// (see [Store.Close]). Further calls return what the first did. The manager must not be used afterwards.
func (m *Manager) Close() error {
	return m.closeOnce()
}

func (m *Manager) shutdown() error {
	m.stopSweeper()
	m.sweeper.Wait()
	if err := m.store.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Store keeps a value, by these rules:
//
//   - A value with the node id of one that is there replaces it in place; so
//     does, without a node id, the very same value. Others go in front.
//   - A value that carries its sender's node id is owned: until it expires,
//     only that peer replaces it. Anybody else gets [ErrNotOwner], or nil for
//     the very same value, which changes nothing.
//   - A proved value ([Put.Proof]) is owned, whoever sends it. It replaces what is not
//     proved, and what was sealed before it; where it is older itself it gets
//     [ErrSuperseded]. What is not proved replaces it never, be it the provider's:
//     [ErrNotOwner]. The very same record lives as long as the longer of both.
//   - A proof without a value is a tombstone: it takes the place of the provider's record,
//     and is not told among the values.
//   - A copy never outlives its original, and one with no more life left than
//     the record it would replace changes nothing and returns nil. So does any copy, and
//     the very same value from elsewhere, where the record came first-hand ([Put.Direct]).
//   - A key holds [MaxProviders], and of one source and of one IP group only as many as
//     [Limits] says; over that one of theirs goes, or of who has most under the key,
//     those without owner before those with one, of them the soonest to expire; none with
//     an owner for one without. Where that is the new one it gets [ErrKeyFull].
//   - A value that would take its source or the source's IP group over the budget is
//     refused with [ErrSourceBudget] or [ErrGroupBudget]; not so our own, and one that
//     costs no more than what it replaces.
//   - Where the store is full records give way: of the IP group, or of the source without
//     one, that has most; those without owner first, of them those whose keys are farthest
//     from this node, and of equals the soonest to expire. A value of who has most is
//     refused with [ErrStoreFull] unless one of its source's own goes before it.
//   - A new value without owner that came from elsewhere and has a key far from this node
//     is refused with [ErrFar] while there is no plenty of room ([Limits.Plenty]).
//
// A value without life is refused with [ErrExpired]. What the store could not do is
// an [ErrStoreFailed]. The error of ctx is wrapped: where it ends while Store waits
// for the store, the value may be kept all the same.
func (m *Manager) Store(ctx context.Context, p Put) error {
	w := m.waits.Get().(*wait)
	m.StoreThen(ctx, p, w.tell)
	select {
	case err := <-w.told:
		m.waits.Put(w)
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-w.told:
		return err
	default:
		return fmt.Errorf("wait for the store of records: %w", ctx.Err())
	}
}

// wait is where a call of Store learns how it ended. It is used again.
type wait struct {
	told chan error
	tell func(error)
}

func newWait() any {
	told := make(chan error, 1)
	return &wait{told, func(err error) { told <- err }}
}

// StoreThen keeps a value as Store does and does not wait for the disk. done is
// called exactly once with what Store would return, before StoreThen returns or later
// from another goroutine; it may read, but it holds up other values: it returns soon and
// stores nothing itself. ctx bounds only how long StoreThen waits where the store has
// too much to do: 8 MiB of values, or 2 MiB of one source's, that wait for it. Values of
// a key are kept in the order of the calls.
func (m *Manager) StoreThen(ctx context.Context, p Put, done func(error)) {
	now := time.Now()
	rec, err := p.record(now)
	if err != nil {
		m.tracer.Refused(refusal(err))
		done(err)
		return
	}
	cost := Cost(p.Key, &rec)
	if err := m.waiting.Enter(ctx, p.Source, cost); err != nil {
		m.tracer.Refused(RefusedStoreFailed)
		done(failed(ctx, "update records", err))
		return
	}
	s := m.storings.Get().(*storing)
	s.begin(ctx, p.Key, rec, now, cost, p.isCopy(), done)
	s.makeRoom()
	m.store.Update(ctx, p.Key, p.durability(), s.change, s.end)
}

// isStrange reports whether a record came from who has neither proved to be its provider
// nor nowhere else to go.
func isStrange(r *Record) bool { return !r.Source.IsOwn() && !r.Owned && !r.Direct }

// Values returns the live records of key, in order and without tombstones, or
// [ErrNotFound]; never an empty list. The list is shared: do not modify it. Errors of the
// store are an ErrStoreFailed; those of ctx are wrapped.
func (m *Manager) Values(ctx context.Context, key []byte) ([]Record, error) {
	values, _, err := m.Records(ctx, key, time.Now())
	if err == nil && len(values) == 0 {
		err = ErrNotFound
	}
	return values, err
}

// Records returns the records of key that live at now, those with a value and the
// tombstones, each in order; either list may be empty. Otherwise it is as Values.
func (m *Manager) Records(ctx context.Context, key []byte, now time.Time) (values, tombstones []Record, err error) {
	live, err := m.live(ctx, key, now)
	if err != nil {
		return nil, nil, err
	}
	n := firstTombstone(live)
	return live[:n:n], live[n:], nil
}

func (m *Manager) live(ctx context.Context, key []byte, now time.Time) ([]Record, error) {
	recs, err := m.store.Get(ctx, key)
	if err != nil {
		return nil, failed(ctx, "get records", err)
	}
	live, _ := split(recs, now)
	return live, nil
}

// Range calls visit with each key that begins with prefix and its live records, the
// tombstones last, at least one, until visit returns false. The order is the store's own, and begins
// at another place each time.
//
// Keys are read page by page, and the records of each when it is its turn: visit
// may take its time and call the manager, as nothing is locked or kept meanwhile. A
// key that is there throughout is visited exactly once; one that comes or goes may
// be missed, or be visited again where it came again. key is visit's to keep; recs
// are as from Values. It is cheap for the keys of gateways (wire.GatewayPrefix), and
// may go through all keys otherwise. Errors are as from Values.
func (m *Manager) Range(ctx context.Context, prefix []byte, visit func(key []byte, recs []Record) bool) error {
	for cursor := Cursor(""); ; {
		keys, next, err := m.store.Keys(ctx, prefix, cursor, pageSize)
		if err != nil {
			return failed(ctx, "list keys", err)
		}
		for _, key := range keys {
			live, err := m.live(ctx, key, time.Now())
			switch {
			case err != nil:
				return err
			case len(live) == 0: // it went, or has expired
			case !visit(key, live):
				return nil
			}
		}
		if next == "" {
			return nil
		}
		cursor = next
	}
}

// failed returns an error of the store, be it that of ctx.
func failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrStoreFailed, what, err)
}

func (m *Manager) sweepEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			m.sweep(ctx)
		case <-m.find:
			m.findResidents(ctx)
		}
	}
}

// sweep drops every expired record. What fails is left for the next sweep.
func (m *Manager) sweep(ctx context.Context) {
	now := time.Now()
	for {
		keys, err := m.store.Expired(ctx, now, sweepBatch)
		if err != nil {
			if ctx.Err() == nil {
				m.sweepFailed()
			}
			return
		}
		done := make(chan error, len(keys))
		for _, key := range keys {
			m.update(ctx, key, Soon, now, func(live []Record) (edit, error) { return edit{next: live}, nil }, func(err error) { done <- err })
		}
		swept := 0
		for range keys {
			select {
			case err := <-done:
				switch {
				case err == nil:
					swept++
				case ctx.Err() == nil:
					m.sweepFailed()
				}
			case <-ctx.Done(): // the store may take its time
				return
			}
		}
		if ctx.Err() != nil || swept == 0 || len(keys) < sweepBatch {
			return
		}
	}
}

// SetOnChange sets who is told of each key whose records have changed, be they renewed or
// expired; nil for nobody. It is called in the goroutine that changes them, must not wait,
// and must not keep the key.
func (m *Manager) SetOnChange(f func(key []byte)) { m.onChange.Store(&f) }

// StoreID names what is stored since it was begun, in 16 random bytes that a durable
// store keeps: peers that know it by another name hand over what it may have lost. It
// is the caller's to read.
func (m *Manager) StoreID() []byte { return m.store.ID() }

// Failing returns why nothing can be stored at the moment, or nil; see
// [Store.Failing].
func (m *Manager) Failing() error { return m.store.Failing() }
