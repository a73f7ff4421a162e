// Package recent keeps values by name, those that were asked for last.
package recent

import (
	"sync"
	"sync/atomic"
)

// Cache keeps values by name, those that were asked for last. It is in two halves: when
// the newer one is full the older is dropped, and takes its place. It is safe for
// concurrent use.
type Cache[V any] struct {
	most int // of a half
	make func(name string) *V

	mu           sync.Mutex
	newer, older map[string]*V
	size         atomic.Int64
}

// New returns a cache of at most so many values, which make makes.
func New[V any](most int, make_ func(string) *V) *Cache[V] {
	return &Cache[V]{most: max(most/2, 1), make: make_, newer: make(map[string]*V)}
}

// Get returns what is kept under a name, which is made where there is nothing.
func (c *Cache[V]) Get(name string) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.newer[name]; v != nil {
		return v
	}
	v := c.older[name]
	if v == nil {
		v = c.make(name)
	}
	if len(c.newer) >= c.most {
		c.older, c.newer = c.newer, make(map[string]*V)
	}
	delete(c.older, name)
	c.newer[name] = v
	c.size.Store(int64(len(c.newer) + len(c.older)))
	return v
}

// Len returns how many values are kept.
func (c *Cache[V]) Len() int { return int(c.size.Load()) }
