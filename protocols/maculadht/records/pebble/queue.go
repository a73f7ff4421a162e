package pebble

import (
	"context"
	"sync"
)

// queued is how many updates wait at most, beside those that are being written and as
// many that are made ready meanwhile.
const queued = 1024

// queue has the updates that wait for the committer, in the order in which they came.
type queue struct {
	some chan struct{} // there are updates, or it is closed

	mu      sync.Mutex
	updates []update
	closed  bool
	room    chan struct{} // closed when there is room; nil where nobody waits for it
}

func newQueue() *queue { return &queue{some: make(chan struct{}, 1)} }

// put queues an update, whose done is called from then on. ctx bounds the wait for room.
func (q *queue) put(ctx context.Context, u update) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		full, err := q.add(u)
		if full == nil {
			return err
		}
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// add queues an update, or returns what is closed when there is room.
func (q *queue) add(u update) (full <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil, ErrClosed
	case len(q.updates) >= queued:
		if q.room == nil {
			q.room = make(chan struct{})
		}
		return q.room, nil
	}
	q.updates = append(q.updates, u)
	q.signal()
	return nil, nil
}

func (q *queue) signal() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// take returns all that wait, and whether no more will come. spare is used for the next.
func (q *queue) take(spare []update) (all []update, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all, q.updates = q.updates, spare[:0]
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	return all, q.closed
}

// close has put refuse what comes. Those who wait for room learn it from take.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	q.signal()
}
