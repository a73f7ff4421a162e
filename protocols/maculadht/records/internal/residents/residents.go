// Package residents keeps the records that strangers have stored in the order in which
// they give way when the store is full.
package residents

import (
	"container/heap"
	"maps"
	"sync"
)

// Set is the records of strangers, by who pays for them, in the order in which
// they give way when the store is full. Who pays is an IP group or, where a source is in
// none, the source: an identity is free, a network is not. It is safe for concurrent use.
type Set struct {
	mu       sync.Mutex
	payers   map[string]*payer
	peak     int         // the most payers since the map was made
	heaviest heaviestTop // of the payers
}

// payer is who pays for some records.
type payer struct {
	name  string
	bytes int64        // what its records cost, with those that are under way
	at    int          // in Set.heaviest
	first firstToLeave // its records, who goes first on top
}

// Resident is a stranger's record, as far as it matters for who gives way.
type Resident struct {
	Key     []byte
	Expires int64  // in ns since 1970
	Cost    uint32 // in bytes
	Shared  uint16 // leading bits that the key shares with this node's id
	Owned   bool

	payer *payer // nil while it is neither in the set nor expected
	at    int32  // in payer.first; notIn while it is in none
}

// notIn is the place of a resident that is in no heap.
const notIn = -1

// New returns a resident that is in no set yet.
func New(key []byte, expires int64, cost uint32, shared int, owned bool) *Resident {
	return &Resident{Key: key, Expires: expires, Cost: cost, Shared: uint16(shared), Owned: owned, at: notIn}
}

// goesBefore reports whether a gives way before b: whose owner did not store it before
// others, the farthest from this node before those that are nearer, and of equals the
// soonest to expire.
func (a *Resident) goesBefore(b *Resident) bool {
	switch {
	case a.Owned != b.Owned:
		return b.Owned
	case a.Shared != b.Shared:
		return a.Shared < b.Shared
	default:
		return a.Expires < b.Expires
	}
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{payers: make(map[string]*payer)} }

// Add has a record give way from now on; one that does already is left.
func (s *Set) Add(name string, r *Resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.at != notIn {
		return
	}
	if r.payer == nil {
		s.expect(name, r)
	}
	heap.Push(&r.payer.first, r)
}

// Expect counts a record that is under way to be stored, until it is added or forgotten.
func (s *Set) Expect(name string, r *Resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expect(name, r)
}

func (s *Set) expect(name string, r *Resident) {
	r.payer = s.payer(name)
	s.charge(r.payer, int64(r.Cost))
}

// Forget counts a record that is expected, and was not added, no more.
func (s *Set) Forget(r *Resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.at == notIn && r.payer != nil {
		s.charge(r.payer, -int64(r.Cost))
		r.payer = nil
	}
}

// Weights returns what the records of each who pays cost, in bytes, with those under way.
func (s *Set) Weights() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	weights := make(map[string]int64, len(s.payers))
	for _, p := range s.heaviest {
		weights[p.name] = p.bytes
	}
	return weights
}

func (s *Set) payer(name string) *payer {
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
func (s *Set) charge(p *payer, bytes int64) {
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

// Remove has a record give way no more.
func (s *Set) Remove(r *Resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(r) {
		s.take(r)
	}
}

// Has reports whether a record gives way.
func (s *Set) Has(r *Resident) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has(r)
}

// has reports whether r is in: another manager of the store before has had its own.
func (s *Set) has(r *Resident) bool { return r.at != notIn && s.payers[r.payer.name] == r.payer }

func (s *Set) take(r *Resident) {
	p := r.payer
	heap.Remove(&p.first, int(r.at))
	r.payer = nil
	s.charge(p, -int64(r.Cost))
}

// GiveWay takes out the record that gives way to one that comes, nil for one of this
// node's own, and returns it with the name of who pays for it: of who has most the first.
// Who has as much as anybody, with what comes, has room only in the place of its own, if
// there is one that goes before.
func (s *Set) GiveWay(name string, comes *Resident) (r *Resident, of string) {
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
type firstToLeave []*Resident

func (h firstToLeave) Len() int           { return len(h) }
func (h firstToLeave) Less(i, j int) bool { return h[i].goesBefore(h[j]) }

func (h firstToLeave) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = int32(i), int32(j)
}

func (h *firstToLeave) Push(x any) {
	r := x.(*Resident)
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
