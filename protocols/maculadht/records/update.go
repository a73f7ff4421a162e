package records

import (
	"context"
	"time"

	"github.com/macula-mesh/macula-node/internal/budget"
)

// update is one change of the records of a key, from its call to its end. It drops what
// has expired, lets plan change the rest, and keeps ledger, residents, gauges and counters
// equal to what the store then holds.
type update struct {
	m   *Manager
	ctx context.Context // of the call
	key []byte
	now time.Time
	// plan is asked what becomes of the live records; settle is called once that is known,
	// or that it was not asked.
	plan   func(live []Record) (edit, error)
	settle func()
	// then is called as the store does it, with plan's error, that of the budget, or that
	// of the store.
	then func(error)

	expired []Record
	done    edit
	refused error
	keys    int64
	changed bool
}

// update has plan change the records of a key, and then told of how that ended.
func (m *Manager) update(ctx context.Context, key []byte, d Durability, now time.Time, plan func(live []Record) (edit, error), then func(error)) {
	u := &update{m: m, ctx: ctx, key: key, now: now, plan: plan, settle: func() {}, then: then}
	m.store.Update(ctx, key, d, u.change, u.end)
}

// change is what the store calls with the records of the key.
func (u *update) change(old []Record) []Record {
	m := u.m
	u.changed = true
	m.moving.Lock()
	defer m.moving.Unlock()
	defer u.settle()
	var live []Record
	live, u.expired = split(old, u.now)
	m.post(u.key, u.expired, nil)

	u.done, u.refused = u.plan(live)
	if u.refused == nil && u.done.added != nil {
		u.refused = m.ledger.Charge(entries(u.key, u.done.removed), entry(u.key, u.done.added))
	} else {
		m.post(u.key, u.done.removed, nil)
	}
	if u.refused != nil {
		u.done = edit{next: live}
	}
	m.reside(u.expired, &u.done)
	u.keys = present(u.done.next) - present(old)
	return u.done.next
}

// end is what the store calls when the update is done, or has failed.
func (u *update) end(err error) {
	m := u.m
	if !u.changed {
		u.settle()
	}
	if err != nil {
		if u.done.added != nil {
			m.ledger.Post([]budget.Entry{entry(u.key, u.done.added)}, entries(u.key, u.done.removed))
		} else {
			m.post(u.key, nil, u.done.removed)
		}
		m.post(u.key, nil, u.expired)
		m.resideAgain(u.expired, &u.done)
		u.then(failed(u.ctx, "update records", err))
		return
	}
	m.keys.Add(u.keys)
	if f := m.onChange.Load(); f != nil && *f != nil && u.refused == nil && (u.done.added != nil || len(u.done.removed)+len(u.expired) > 0) {
		(*f)(u.key)
	}
	m.count(u.key, u.keys, &u.done, u.expired, u.refused)
	u.then(u.refused)
}

// post posts to the ledger that records went and came, whatever the limits.
func (m *Manager) post(key []byte, went, came []Record) {
	if len(went)+len(came) > 0 {
		m.ledger.Post(entries(key, went), entries(key, came))
	}
}

// entry is a record under key to the ledger.
func entry(key []byte, r *Record) budget.Entry {
	return budget.Entry{Source: r.Source, Bytes: Cost(key, r)}
}

func entries(key []byte, recs []Record) []budget.Entry {
	if len(recs) == 0 {
		return nil
	}
	out := make([]budget.Entry, len(recs))
	for i := range recs {
		out[i] = entry(key, &recs[i])
	}
	return out
}

// present returns 1 for a key with records and 0 for one without.
func present(recs []Record) int64 {
	return int64(min(len(recs), 1))
}

// storing is a Put on its way. It is used again, and with it what it hands to the store.
type storing struct {
	update
	rec    Record
	cost   int64
	counts bool // as under way
	isCopy bool
	told   func(error) // the caller's

	change func(old []Record) []Record
	end    func(error)
}

func newStoring(m *Manager) *storing {
	s := &storing{update: update{m: m}}
	s.plan, s.settle, s.then = s.place, s.settled, s.stored
	s.change, s.end = s.update.change, s.update.end
	return s
}

// begin counts a record as under way.
func (s *storing) begin(ctx context.Context, key []byte, rec Record, now time.Time, cost int64, isCopy bool, told func(error)) {
	s.ctx, s.key, s.now, s.rec, s.cost, s.isCopy, s.told = ctx, key, now, rec, cost, isCopy, told
	s.counts = true
	s.m.underWay.Add(cost)
	if !rec.Source.IsOwn() {
		s.rec.resident = newResident(key, &s.rec, s.m.shared(key))
		s.m.residents.Expect(payerOf(rec.Source), s.rec.resident)
	}
}

// place has the record take its place among the live ones.
func (s *storing) place(live []Record) (edit, error) {
	m := s.m
	done, err := place(live, &s.rec, s.isCopy, s.now, m.limits)
	if err == nil && done.added != nil && !done.replaced && isStrange(&s.rec) && m.isScarce() && m.isFar(s.key) {
		return edit{}, ErrFar
	}
	return done, err
}

// leave counts the record as under way no more.
func (s *storing) leave() {
	if s.counts {
		s.counts = false
		s.m.underWay.Add(-s.cost)
	}
}

// settled is called when the record has been stored or not.
func (s *storing) settled() {
	s.leave()
	if r := s.rec.resident; r != nil {
		s.m.residents.Forget(r)
	}
}

// stored tells how it ended, and gives the storing back.
func (s *storing) stored(err error) {
	m, told := s.m, s.told
	m.waiting.Leave(s.rec.Source, s.cost)
	if err != nil && refusal(err) == RefusedStoreFailed {
		m.tracer.Refused(RefusedStoreFailed)
	}
	s.update = update{m: m, plan: s.plan, settle: s.settle, then: s.then}
	s.rec, s.told = Record{}, nil
	m.storings.Put(s)
	told(err)
}
