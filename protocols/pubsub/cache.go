package pubsub

import (
	"sync"
	"sync/atomic"
)

// cache keeps values by name, those that were asked for last. It is in two halves: when
// the newer one is full the older is dropped, and takes its place. It is safe for
// concurrent use.
type cache[V any] struct {
	most int // of a half
	make func(name string) *V

	mu           sync.Mutex
	newer, older map[string]*V
	size         atomic.Int64
}

func newCache[V any](most int, make_ func(string) *V) *cache[V] {
	return &cache[V]{most: max(most/2, 1), make: make_, newer: make(map[string]*V)}
}

// get returns what is kept under a name, which is made where there is nothing.
func (c *cache[V]) get(name string) *V {
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

func (c *cache[V]) len() int { return int(c.size.Load()) }
