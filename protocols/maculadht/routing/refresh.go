package routing

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"
)

// visits notes when something was last looked up in each bucket's part of the id
// space; the last entry stands for our own id.
type visits struct {
	mu   sync.Mutex
	last [IDBits + 1]time.Time
}

func (v *visits) note(bucket int, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last[bucket] = now
}

func (v *visits) idle(bucket int, limit time.Duration, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return now.Sub(v.last[bucket]) >= limit
}

// Join makes the table known and full from the few contacts that are in it: a
// lookup of our own id finds the nearest, one in each bucket that is farther than
// those fills it. The error is that of ctx, which Close ends too, or of a lookup of
// our own id that took too long.
func (u *Upkeep) Join(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	if u.ctx.Err() != nil {
		return u.ctx.Err() // AfterFunc needs a moment
	}
	self := u.server.Self()
	if _, err := u.lookups.Nodes(ctx, self[:]); err != nil {
		return fmt.Errorf("look up our own id: %w", err)
	}
	for bucket := range u.server.table.depth() {
		if u.visit(ctx, bucket); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// refresh looks something up in each bucket in which nothing was for long, and
// our own id.
func (u *Upkeep) refresh() {
	if u.server.table.Len() == 0 {
		return
	}
	if u.lookups.visited.idle(IDBits, u.cfg.idle, time.Now()) {
		self := u.server.Self()
		_, _ = u.lookups.Nodes(u.ctx, self[:]) // as in visit
	}
	for bucket := range u.server.table.depth() {
		if u.ctx.Err() != nil {
			return
		}
		if u.lookups.visited.idle(bucket, u.cfg.idle, time.Now()) {
			u.visit(u.ctx, bucket)
		}
	}
}

// visit looks up an id of a bucket: who answers is in the table by that.
func (u *Upkeep) visit(ctx context.Context, bucket int) {
	target := randomIn(u.server.Self(), bucket)
	_, _ = u.lookups.Nodes(ctx, target[:])
}

// randomIn returns an id that shares just as many leading bits with self as those
// of a bucket do.
func randomIn(self ID, bucket int) ID {
	var id ID
	rand.Read(id[:]) // never fails
	for i := range bucket {
		id.setBit(i, self.bit(i))
	}
	id.setBit(bucket, !self.bit(bucket))
	return id
}
