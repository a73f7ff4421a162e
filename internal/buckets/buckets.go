// Package buckets limits how often something happens, by a key that strangers may
// choose, in memory that does not grow.
package buckets

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Buckets are token buckets, one for each network. Networks that share a place in the
// memory, which nobody can foresee, share a bucket. They are safe for concurrent use.
type Buckets struct {
	seed maphash.Seed
	most int
	each time.Duration

	mu   sync.Mutex
	full []time.Time // when each of them will be
}

// New returns n buckets, of 24 bytes, that are full: of each most tokens can be taken at
// once, and one comes back each time.
func New(n, most int, each time.Duration) *Buckets {
	return &Buckets{seed: maphash.MakeSeed(), most: most, each: each, full: make([]time.Time, n)}
}

func (b *Buckets) place(of netip.Prefix) *time.Time {
	return &b.full[maphash.Comparable(b.seed, of)%uint64(len(b.full))]
}

// Take takes a token of a network, and reports false where there is none.
func (b *Buckets) Take(of netip.Prefix, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.place(of)
	full := *at
	if full.Before(now) {
		full = now
	}
	if full = full.Add(b.each); full.Sub(now) > time.Duration(b.most)*b.each {
		return false
	}
	*at = full
	return true
}

// Give gives back a token that was taken.
func (b *Buckets) Give(of netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.place(of)
	*at = at.Add(-b.each)
}
