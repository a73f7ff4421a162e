package records

import (
	"hash/maphash"
	"sync"
	"time"
)

// MaxChanged is how many keys are remembered by when they last changed.
const MaxChanged = 8192

// changes remembers when keys last changed, in memory that does not grow: of the keys it has
// the hashes, the oldest of which go.
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

func (c *changes) note(key []byte) {
	h := c.hash(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = make(map[uint64]time.Time)
	}
	if _, known := c.at[h]; !known {
		if len(c.ring) < MaxChanged {
			c.ring = append(c.ring, h)
		} else {
			delete(c.at, c.ring[c.next])
			c.ring[c.next] = h
			c.next = (c.next + 1) % MaxChanged
		}
	}
	c.at[h] = time.Now()
}

func (c *changes) of(key []byte) time.Time {
	h := c.hash(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[h]
}
