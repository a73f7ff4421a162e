package records

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/internal/residents"
)

// payerOf returns the name of who pays for a record.
func payerOf(s Source) string {
	return cmp.Or(s.Group, s.Name)
}

func newResident(key []byte, r *Record, shared int) *residents.Resident {
	return residents.New(key, r.Expires.UnixNano(), uint32(Cost(key, r)), shared, r.Owned)
}

// makeRoom has others give way until what is under way fits the budget. Where nobody does
// this one counts as under way no more: it is refused in the end, and others make no room
// for it.
func (s *storing) makeRoom() {
	m := s.m
	if m.unknown.Load() {
		if m.isScarce() || m.isOver(0) {
			m.findSoon()
		}
		return // who has most is not known yet
	}
	if !m.isOver(0) {
		return
	}
	replaced := m.replacedBy(s.ctx, s.key, &s.rec)
	for m.isOver(replaced) {
		r, of := m.residents.GiveWay(payerOf(s.rec.Source), s.rec.resident)
		if r == nil || !m.evict(s.ctx, s.now, r, of) {
			s.leave()
			return
		}
	}
}

// isOver reports whether what is stored and what is under way are more than the budget,
// where so many bytes go.
func (m *Manager) isOver(gone int64) bool {
	m.moving.Lock()
	defer m.moving.Unlock()
	return m.ledger.Usage().Bytes+m.underWay.Load()-gone > m.limits.Bytes
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
	u := &update{m: m, ctx: ctx, key: r.Key, now: now}
	u.settle = func() { m.underWay.Add(int64(r.Cost)) }
	u.plan = func(live []Record) (edit, error) {
		for i := range live {
			if live[i].resident == r {
				return edit{next: without(live, i), removed: live[i : i+1], evicted: EvictedStore}, nil
			}
		}
		return edit{next: live}, nil
	}
	u.then = func(err error) {
		if err != nil {
			m.residents.Add(of, r)
			failed.Store(true)
		}
	}
	m.store.Update(ctx, r.Key, Soon, u.change, u.end)
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
func without(recs []Record, i int) []Record { return slices.Concat(recs[:i], recs[i+1:]) }

// findSoon has the sweeper find residents, which goes through all of the store.
func (m *Manager) findSoon() {
	select {
	case m.find <- struct{}{}:
	default:
	}
}

// findResidents has the records give way that the store had before the manager. Until all
// are found nobody gives way.
func (m *Manager) findResidents(ctx context.Context) {
	if !m.unknown.Load() {
		return
	}
	var failed atomic.Bool
	var under atomic.Int64 // and one for the walk
	under.Store(1)
	ended := make(chan struct{})
	end := func(err error) {
		if err != nil {
			failed.Store(true)
		}
		if under.Add(-1) == 0 {
			close(ended)
		}
	}
	end(m.Range(ctx, nil, func(key []byte, _ []Record) bool {
		under.Add(1)
		m.findUnder(ctx, key, end)
		return ctx.Err() == nil && !failed.Load()
	}))
	select {
	case <-ended:
	case <-ctx.Done(): // the store may take its time
		return
	}
	switch {
	case ctx.Err() != nil:
	case failed.Load():
		m.sweepFailed()
	default:
		m.unknown.Store(false)
	}
}

// findUnder has the records of a key that are no residents be some.
func (m *Manager) findUnder(ctx context.Context, key []byte, done func(error)) {
	var found []*residents.Resident
	m.store.Update(ctx, key, Soon, func(old []Record) []Record {
		next := old
		for i := range old {
			r := &old[i]
			if r.Source.IsOwn() || r.resident != nil && m.residents.Has(r.resident) {
				continue
			}
			if found == nil {
				next = slices.Clone(old)
			}
			next[i].resident = newResident(key, r, m.shared(key))
			m.residents.Add(payerOf(r.Source), next[i].resident)
			found = append(found, next[i].resident)
		}
		return next
	}, func(err error) {
		if err != nil {
			for _, r := range found {
				m.residents.Remove(r)
			}
		}
		done(err)
	})
}
