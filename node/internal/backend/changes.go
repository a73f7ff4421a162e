package backend

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Store is a store of records, of whose keys it is remembered when they last changed.
type Store struct {
	records.Store
	changes changes
}

// Remember returns the store, with that.
func Remember(s records.Store) *Store { return &Store{Store: s} }

// Update implements records.Store.
func (s *Store) Update(ctx context.Context, key []byte, d records.Durability, change func(old []records.Record) []records.Record, done func(error)) {
	changed := false
	s.Store.Update(ctx, key, d, func(old []records.Record) []records.Record {
		next := change(old)
		changed = len(next) != len(old) || len(next) > 0 && &next[0] != &old[0]
		return next
	}, func(err error) {
		if changed && err == nil {
			s.changes.note(key)
		}
		done(err)
	})
}

// maxChanged is how many keys are remembered by when they last changed.
const maxChanged = 8192

// changes are when keys last changed, in memory that does not grow: of the keys it has the
// hashes, the oldest of which go. The zero value has none; it is safe for concurrent use.
type changes struct {
	once sync.Once
	seed maphash.Seed

	mu   sync.Mutex
	at   map[uint64]time.Time
	ring []uint64 // in the order in which they first changed
	next int
}

func (c *changes) hash(key []byte) uint64 {
	c.once.Do(func() { c.seed = maphash.MakeSeed() })
	return maphash.Bytes(c.seed, key)
}

// note notes that a key changes now, which it does not keep.
func (c *changes) note(key []byte) {
	h := c.hash(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = make(map[uint64]time.Time)
	}
	if _, known := c.at[h]; !known {
		if len(c.ring) < maxChanged {
			c.ring = append(c.ring, h)
		} else {
			delete(c.at, c.ring[c.next])
			c.ring[c.next] = h
			c.next = (c.next + 1) % maxChanged
		}
	}
	c.at[h] = time.Now()
}

// of returns when a key last changed; zero where that is not known.
func (c *changes) of(key []byte) time.Time {
	h := c.hash(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[h]
}
