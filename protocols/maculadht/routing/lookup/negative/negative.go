// Package negative is the negative cache of lookups: which contacts had nothing for a
// key a short while ago, so that they are not asked for it again, and who is being
// asked for one right now.
package negative

import (
	"context"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// TTL is for how long an Erlang contact that missed is not asked for the same key
	// again, nor one that had not answered when it was given up: it asks others for
	// what it has not, and would only begin anew.
	TTL = 60 * time.Second
	// maxMisses is how many misses the cache holds. Of more, the oldest go.
	maxMisses = 8192
)

// Miss is that a contact had nothing for a key.
type Miss struct {
	Contact, Key routing.ID
}

// Cache remembers who missed what. It is safe for concurrent use; its zero value is
// empty.
type Cache struct {
	mu    sync.Mutex
	until map[Miss]time.Time
	order []Miss // the oldest, which is the first to be forgotten, first

	asking map[Miss]chan struct{} // closed when the question is done with
}

// Begin waits until nobody else asks a contact for a key, and returns what ends the
// question; nil where none is to be asked, as the contact has missed or ctx ended.
func (c *Cache) Begin(ctx context.Context, what Miss) (done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if time.Now().Before(c.until[what]) {
			return nil, nil
		}
		other, busy := c.asking[what]
		if !busy {
			break
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if c.asking == nil {
		c.asking = make(map[Miss]chan struct{})
	}
	mine := make(chan struct{})
	c.asking[what] = mine
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asking, what)
		close(mine)
	}, nil
}

// Add remembers a miss, for [TTL] from now on.
func (c *Cache) Add(what Miss, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.order) > 0 && (len(c.order) >= maxMisses || !now.Before(c.until[c.order[0]])) {
		delete(c.until, c.order[0])
		c.order = c.order[1:]
	}
	if _, there := c.until[what]; there {
		return // another lookup missed at the same time
	}
	if c.until == nil {
		c.until = make(map[Miss]time.Time)
	}
	c.until[what] = now.Add(TTL)
	c.order = append(c.order, what)
}
