package backlog

import (
	"context"
	"sync"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/internal/fair"
)

// Turns are what is to be done for somebody, in turn and at a pace. They are safe for
// concurrent use.
type Turns[T comparable] struct {
	pace *rate.Limiter
	wake chan struct{} // has a token when something waits

	mu      sync.Mutex
	waiting *fair.Queue[T]
}

// NewTurns returns turns of which so many begin a second, and no more wait than are given.
func NewTurns[T comparable](waiting, perSecond int) *Turns[T] {
	return &Turns[T]{
		pace: rate.NewLimiter(rate.Limit(perSecond), perSecond), wake: make(chan struct{}, 1),
		waiting: fair.New[T](waiting, fair.Unlimited),
	}
}

// Add has something done. Where too much waits it returns what will not be for it, the
// newest of who has most, which may be the same.
func (t *Turns[T]) Add(by fair.Payer, v T) (gaveWay T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if out := t.waiting.GiveWay(t.waiting.Add(by, v, 1), false); out != nil {
		gaveWay = out.Value
	}
	t.signal()
	return gaveWay
}

func (t *Turns[T]) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Do does one after the other until ctx ends. There may be more of it at a time.
func (t *Turns[T]) Do(ctx context.Context, do func(T)) {
	for t.pace.Wait(ctx) == nil {
		v, ok := t.next(ctx)
		if !ok {
			return
		}
		do(v)
	}
}

// next returns the one whose turn it is, as soon as there is one.
func (t *Turns[T]) next(ctx context.Context) (v T, ok bool) {
	for {
		t.mu.Lock()
		v, ok = t.waiting.Pop()
		if ok && t.waiting.Weight() > 0 { // for another one
			t.signal()
		}
		t.mu.Unlock()
		if ok {
			return v, true
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return v, false
		}
	}
}
