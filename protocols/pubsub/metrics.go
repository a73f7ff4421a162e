package pubsub

import (
	"errors"
	"sync/atomic"
)

// DropReason is why a message was not delivered, or a subscription not taken.
type DropReason string

// The reasons.
const (
	DropBusy    DropReason = "busy"    // its sender was over the budget
	DropRefused DropReason = "refused" // a subscription over a limit
	DropSlow    DropReason = "slow"    // a queue was full
	DropUnsent  DropReason = "unsent"  // another node could not be sent it
	DropUnasked DropReason = "unasked" // it went to who is known: too much was looked up, most of it for its sender

	DropIncomplete DropReason = "incomplete" // it lacks what it must have, or is damaged
	DropUnmet      DropReason = "unmet"      // its sender has not CONNECTed
	DropMisrouted  DropReason = "misrouted"  // it was for another node, or of too many hops
)

func newDrops() map[DropReason]*atomic.Uint64 {
	drops := make(map[DropReason]*atomic.Uint64)
	for _, why := range []DropReason{DropBusy, DropRefused, DropSlow, DropUnsent, DropUnasked, DropIncomplete, DropUnmet, DropMisrouted} {
		drops[why] = new(atomic.Uint64)
	}
	return drops
}

// MetricsTracer is told what happens to messages. Its methods are called by many goroutines
// at once, on the way of each message, and must return at once.
type MetricsTracer interface {
	// Published is called for each message that is taken here: of a client or of this
	// program, or of another node.
	Published(fromElsewhere bool)
	// Delivered is called with how many subscribers here were handed a message.
	Delivered(copies int)
	// Sent is called for each copy that another node was sent.
	Sent()
	// Dropped is called with how many messages or subscriptions came to nothing.
	Dropped(why DropReason, n int)
}

// WithMetricsTracer sets who is told what happens to messages; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}

type noTracer struct{}

func (noTracer) Published(bool)          {}
func (noTracer) Delivered(int)           {}
func (noTracer) Sent()                   {}
func (noTracer) Dropped(DropReason, int) {}

// dropped counts what came to nothing.
func (t *Topics) dropped(why DropReason, n int) {
	if n == 0 {
		return
	}
	t.count.dropped[why].Add(uint64(n))
	t.cfg.tracer.Dropped(why, n)
}
