package records

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/internal/residents"
)

// payerOf returns the name of who pays for a record.
func payerOf(s Source) string {
	if s.Group != "" {
		return s.Group
	}
	return s.Name
}

func newResident(key []byte, r *Record, shared int, loaded bool) *residents.Resident {
	return residents.New(key, r.Expires.UnixNano(), uint32(Cost(key, r)), shared, r.Owned, loaded)
}

// is reports whether r is the record, which name pays for.
func is(a *residents.Resident, name string, r *Record) bool {
	if !a.Loaded {
		return r.resident == a
	}
	return payerOf(r.Source) == name && r.Expires.UnixNano() == a.Expires && r.Owned == a.Owned
}

// expect counts a record that is under way to be stored until settle is called.
func (m *Manager) expect(rec *Record, cost int64) (settle func()) {
	m.underWay.Add(cost)
	if rec.resident == nil {
		return func() { m.underWay.Add(-cost) }
	}
	name := payerOf(rec.Source)
	m.residents.Expect(name, cost)
	return func() {
		m.underWay.Add(-cost)
		m.residents.Expect(name, -cost)
	}
}

// makeRoom has others give way until what is under way fits the budget, rec under key with
// it, or nobody does.
func (m *Manager) makeRoom(ctx context.Context, now time.Time, key []byte, rec *Record) {
	if m.unknown.Load() && m.isScarce() && m.unknown.CompareAndSwap(true, false) {
		m.find <- struct{}{}
	}
	isOver := func(gone int64) bool { return m.ledger.Usage().Bytes+m.underWay.Load()-gone > m.limits.Bytes }
	if !isOver(0) {
		return
	}
	replaced := m.replacedBy(ctx, key, rec)
	for isOver(replaced) {
		r, of := m.residents.GiveWay(payerOf(rec.Source), rec.resident)
		if r == nil || !m.evict(ctx, now, r, of) {
			return
		}
	}
}

// replacedBy returns what the record costs that one under key takes the place of.
func (m *Manager) replacedBy(ctx context.Context, key []byte, rec *Record) int64 {
	recs, _ := m.store.Get(ctx, key) // a store that can not be read is told of by the update
	if i := slices.IndexFunc(recs, rec.IsOfSameProvider); i >= 0 {
		return Cost(key, &recs[i])
	}
	return 0
}

// evict drops the record of a resident that has been taken out. It is there no more where
// it has been replaced, or has ended. It reports false where the store fails, as far as
// that is known by then.
func (m *Manager) evict(ctx context.Context, now time.Time, r *residents.Resident, of string) bool {
	var failed atomic.Bool
	m.underWay.Add(-int64(r.Cost))
	settle := func() { m.underWay.Add(int64(r.Cost)) }
	m.update(ctx, r.Key, Soon, now, settle, func(live []Record) (edit, error) {
		for i := range live {
			if is(r, of, &live[i]) {
				return edit{next: without(live, i), removed: live[i : i+1], evicted: EvictedStore}, nil
			}
		}
		return edit{next: live}, nil
	}, func(err error) {
		if err != nil {
			m.residents.Add(of, r)
			failed.Store(true)
		}
	})
	return !failed.Load()
}

// reside has what an update has made of the records of a key give way, and what it has
// dropped no more.
func (m *Manager) reside(expired []Record, done *edit) {
	for _, gone := range [][]Record{expired, done.removed} {
		for i := range gone {
			if r := gone[i].resident; r != nil {
				m.residents.Remove(r)
			}
		}
	}
	if done.added != nil && done.added.resident != nil {
		m.residents.Add(payerOf(done.added.Source), done.added.resident)
	}
}

// resideAgain takes back what reside has done.
func (m *Manager) resideAgain(expired []Record, done *edit) {
	if done.added != nil && done.added.resident != nil {
		m.residents.Remove(done.added.resident)
	}
	for _, back := range [][]Record{expired, done.removed} {
		for i := range back {
			if r := back[i].resident; r != nil {
				m.residents.Add(payerOf(back[i].Source), r)
			}
		}
	}
}

// without returns a list without one of its records.
func without(recs []Record, i int) []Record {
	left := make([]Record, 0, len(recs)-1)
	return append(append(left, recs[:i]...), recs[i+1:]...)
}

// findResidents has the records give way that the store had before the manager. It goes
// through all of the store, so it is done when room becomes scarce.
func (m *Manager) findResidents(ctx context.Context) {
	err := m.Range(ctx, nil, func(key []byte, recs []Record) bool {
		for i := range recs {
			r := &recs[i]
			if !r.Source.IsOwn() && (r.resident == nil || !m.residents.Has(r.resident)) {
				m.residents.Add(payerOf(r.Source), newResident(key, r, m.shared(key), true))
			}
		}
		return ctx.Err() == nil
	})
	if err != nil && ctx.Err() == nil {
		m.sweepFailed()
	}
}
