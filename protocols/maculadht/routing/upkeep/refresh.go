package upkeep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Join makes the table known and full from the few contacts that are in it: a
// lookup of our own id finds the nearest, one in each bucket that is farther than
// those fills it. Where the table is empty it does nothing. The error is that of ctx,
// which Close ends too, or of a lookup of our own id that took too long, or that
// nobody answered ([lookup.ErrUnanswered]).
func (u *Upkeep) Join(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	if u.ctx.Err() != nil {
		return u.ctx.Err() // AfterFunc needs a moment
	}
	self := u.server.Self()
	if _, err := u.lookups.Nodes(ctx, self[:]); err != nil && !errors.Is(err, lookup.ErrNoPeers) {
		return fmt.Errorf("look up our own id: %w", err)
	}
	for bucket := range u.server.Table().Depth() {
		if u.visit(ctx, bucket); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// refresh looks something up in each bucket in which nothing was for long, and
// our own id.
func (u *Upkeep) refresh() {
	if u.server.Table().Len() == 0 {
		return
	}
	if u.idle(routing.IDBits) {
		self := u.server.Self()
		_, _ = u.lookups.Nodes(u.ctx, self[:]) // as in visit
	}
	for bucket := range u.server.Table().Depth() {
		if u.ctx.Err() != nil {
			return
		}
		if u.idle(bucket) {
			u.visit(u.ctx, bucket)
		}
	}
}

// idle reports whether nothing was looked up in a bucket for long.
func (u *Upkeep) idle(bucket int) bool {
	return time.Since(u.lookups.LastLookup(bucket)) >= u.cfg.idle
}

// visit looks up an id of a bucket: who answers is in the table by that.
func (u *Upkeep) visit(ctx context.Context, bucket int) {
	target := u.server.Table().RandomID(bucket)
	_, _ = u.lookups.Nodes(ctx, target[:])
}
