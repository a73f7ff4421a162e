package records

import (
	"container/heap"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// residents are the records of strangers, by who pays for them, in the order in which
// they give way when the store is full. Who pays is an IP group or, where a source is in
// none, the source: an identity is free, a network is not. It is safe for concurrent use.
type residents struct {
	mu       sync.Mutex
	payers   map[string]*payer
	peak     int         // the most payers since the map was made
	heaviest heaviestTop // of the payers
}

// payer is who pays for some records.
type payer struct {
	name  string
	bytes int64        // what its records cost, with those that are under way
	at    int          // in residents.heaviest
	first firstToLeave // its records, who goes first on top
}

// resident is a stranger's record, as far as it matters for who gives way.
type resident struct {
	key     []byte
	expires int64  // in ns since 1970
	payer   *payer // nil while it is not among the residents
	cost    uint32
	at      int32  // in payer.first
	shared  uint16 // leading bits that the key shares with this node's id
	owned   bool
	loaded  bool // the record was there before this manager, and does not point here
}

// notIn is the place of a resident that is in no heap.
const notIn = -1

// payerOf returns the name of who pays for a record.
func payerOf(s Source) string {
	if s.Group != "" {
		return s.Group
	}
	return s.Name
}

func newResident(key []byte, r *Record, shared int) *resident {
	return &resident{
		key: key, expires: r.Expires.UnixNano(), cost: uint32(Cost(key, r)), at: notIn,
		shared: uint16(shared), owned: r.Owned,
	}
}

// goesBefore reports whether a gives way before b: whose owner did not store it before
// others, the farthest from this node before those that are nearer, and of equals the
// soonest to expire.
func (a *resident) goesBefore(b *resident) bool {
	switch {
	case a.owned != b.owned:
		return b.owned
	case a.shared != b.shared:
		return a.shared < b.shared
	default:
		return a.expires < b.expires
	}
}

// is reports whether r is the record, which name pays for.
func (a *resident) is(name string, r *Record) bool {
	if !a.loaded {
		return r.resident == a
	}
	return payerOf(r.Source) == name && r.Expires.UnixNano() == a.expires && r.Owned == a.owned
}

func newResidents() *residents { return &residents{payers: make(map[string]*payer)} }

// add has a record give way from now on; one that does already is left.
func (s *residents) add(name string, r *resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.at == notIn {
		r.payer = s.payer(name)
		heap.Push(&r.payer.first, r)
		s.charge(r.payer, int64(r.cost))
	}
}

// expect counts what is under way to be stored, or no more where bytes is less than 0.
func (s *residents) expect(name string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charge(s.payer(name), bytes)
}

func (s *residents) payer(name string) *payer {
	p := s.payers[name]
	if p == nil {
		p = &payer{name: name}
		s.payers[name] = p
		s.peak = max(s.peak, len(s.payers))
		heap.Push(&s.heaviest, p)
	}
	return p
}

// charge changes what a payer's records cost; one without any is forgotten.
func (s *residents) charge(p *payer, bytes int64) {
	p.bytes += bytes
	heap.Fix(&s.heaviest, p.at)
	if p.bytes != 0 {
		return
	}
	heap.Remove(&s.heaviest, p.at)
	delete(s.payers, p.name)
	// A map keeps the room of its largest moment.
	if s.peak >= shrinkFrom && len(s.payers) < s.peak/shrinkBy {
		small := make(map[string]*payer, len(s.payers))
		maps.Copy(small, s.payers)
		s.payers, s.peak = small, len(small)
	}
}

const (
	shrinkFrom = 1024 // payers
	shrinkBy   = 8
)

// find has a record give way that the store had before; one that is in is left.
func (s *residents) find(key []byte, rec *Record, shared int) {
	s.mu.Lock()
	isIn := rec.resident != nil && s.has(rec.resident)
	s.mu.Unlock()
	if !isIn {
		r := newResident(key, rec, shared)
		r.loaded = true
		s.add(payerOf(rec.Source), r)
	}
}

// remove has a record give way no more.
func (s *residents) remove(r *resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(r) {
		s.take(r)
	}
}

// has reports whether r is in: another manager of the store before has had its own.
func (s *residents) has(r *resident) bool { return r.at != notIn && s.payers[r.payer.name] == r.payer }

func (s *residents) take(r *resident) {
	p := r.payer
	heap.Remove(&p.first, int(r.at))
	r.payer = nil
	s.charge(p, -int64(r.cost))
}

// giveWay takes out the record that gives way to one that comes, nil for one of this
// node's own, and returns it with the name of who pays for it: of who has most the first.
// Who has as much as anybody, with what comes, has room only in the place of its own, if
// there is one that goes before.
func (s *residents) giveWay(name string, comes *resident) (r *resident, of string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heaviest) == 0 {
		return nil, ""
	}
	from := s.heaviest[0]
	if comes != nil {
		if own := s.payers[name]; from.bytes <= own.bytes {
			if len(own.first) == 0 || !own.first[0].goesBefore(comes) {
				return nil, ""
			}
			from = own
		}
	}
	if len(from.first) == 0 { // all that it has is under way
		return nil, ""
	}
	r = from.first[0]
	s.take(r)
	return r, from.name
}

// expect counts a record that is under way to be stored until settle is called.
func (m *Manager) expect(rec *Record, cost int64) (settle func()) {
	m.underWay.Add(cost)
	if rec.resident == nil {
		return func() { m.underWay.Add(-cost) }
	}
	name := payerOf(rec.Source)
	m.residents.expect(name, cost)
	return func() {
		m.underWay.Add(-cost)
		m.residents.expect(name, -cost)
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
		r, of := m.residents.giveWay(payerOf(rec.Source), rec.resident)
		if r == nil || !m.evict(ctx, now, r, of) {
			return
		}
	}
}

// replacedBy returns what the record costs that one under key takes the place of.
func (m *Manager) replacedBy(ctx context.Context, key []byte, rec *Record) int64 {
	recs, _ := m.store.Get(ctx, key) // a store that can not be read is told of by the update
	if i := slices.IndexFunc(recs, rec.replaces); i >= 0 {
		return Cost(key, &recs[i])
	}
	return 0
}

// evict drops the record of a resident that has been taken out. It is there no more where
// it has been replaced, or has ended. It reports false where the store fails, as far as
// that is known by then.
func (m *Manager) evict(ctx context.Context, now time.Time, r *resident, of string) bool {
	var failed atomic.Bool
	m.underWay.Add(-int64(r.cost))
	settle := func() { m.underWay.Add(int64(r.cost)) }
	m.update(ctx, r.key, Soon, now, settle, func(live []Record) (edit, error) {
		for i := range live {
			if r.is(of, &live[i]) {
				return edit{next: without(live, i), removed: live[i : i+1], evicted: EvictedStore}, nil
			}
		}
		return edit{next: live}, nil
	}, func(err error) {
		if err != nil {
			m.residents.add(of, r)
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
				m.residents.remove(r)
			}
		}
	}
	if done.added != nil && done.added.resident != nil {
		m.residents.add(payerOf(done.added.Source), done.added.resident)
	}
}

// resideAgain takes back what reside has done.
func (m *Manager) resideAgain(expired []Record, done *edit) {
	if done.added != nil && done.added.resident != nil {
		m.residents.remove(done.added.resident)
	}
	for _, back := range [][]Record{expired, done.removed} {
		for i := range back {
			if r := back[i].resident; r != nil {
				m.residents.add(payerOf(back[i].Source), r)
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
			if !recs[i].Source.IsOwn() {
				m.residents.find(key, &recs[i], m.shared(key))
			}
		}
		return ctx.Err() == nil
	})
	if err != nil && ctx.Err() == nil {
		m.sweepFailed()
	}
}

// heaviestTop is a heap of payers, who has most on top.
type heaviestTop []*payer

func (h heaviestTop) Len() int { return len(h) }

func (h heaviestTop) Less(i, j int) bool {
	return h[i].bytes > h[j].bytes || h[i].bytes == h[j].bytes && h[i].name < h[j].name
}

func (h heaviestTop) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *heaviestTop) Push(x any) {
	p := x.(*payer)
	p.at = len(*h)
	*h = append(*h, p)
}

func (h *heaviestTop) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return p
}

// firstToLeave is a heap of one payer's records, who goes first on top.
type firstToLeave []*resident

func (h firstToLeave) Len() int           { return len(h) }
func (h firstToLeave) Less(i, j int) bool { return h[i].goesBefore(h[j]) }

func (h firstToLeave) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = int32(i), int32(j)
}

func (h *firstToLeave) Push(x any) {
	r := x.(*resident)
	r.at = int32(len(*h))
	*h = append(*h, r)
}

func (h *firstToLeave) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	r.at = notIn
	return r
}
