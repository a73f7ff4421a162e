package glass

import "context"

// turn is a lock that can be waited for with a context, and for which virtual
// time goes on (testing/synctest), as it does not for a mutex.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the lock, and reports whether it got it before the context
// ended.
func (t turn) take(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// try takes the lock if it is free.
func (t turn) try() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t turn) give() { <-t }
