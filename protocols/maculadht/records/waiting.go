package records

import (
	"context"
	"sync"
)

const (
	// maxWaiting is what the values that wait for the store may cost together, in bytes
	// as [Cost] says: so that a disk that hangs costs no more memory than that.
	maxWaiting = 8 << 20
	// maxWaitingOfSource is what those of one source may.
	maxWaitingOfSource = maxWaiting / 4
)

// waiting counts the values that wait for the store.
type waiting struct {
	mu       sync.Mutex
	bytes    int64
	bySource map[Source]int64
	room     chan struct{} // closed when there may be room; nil where nobody waits for it
}

func newWaiting() *waiting { return &waiting{bySource: make(map[Source]int64)} }

// enter counts a value of a source, as soon as there is room. One that is larger than
// all the room there is waits until it is alone.
func (w *waiting) enter(ctx context.Context, source Source, bytes int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		room := w.tryEnter(source, bytes)
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryEnter counts a value, or returns what is closed when there may be room.
func (w *waiting) tryEnter(source Source, bytes int64) (room <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.bySource[source]
	if w.bytes > 0 && w.bytes+bytes > maxWaiting || of > 0 && of+bytes > maxWaitingOfSource {
		if w.room == nil {
			w.room = make(chan struct{})
		}
		return w.room
	}
	w.bytes += bytes
	w.bySource[source] = of + bytes
	return nil
}

// leave takes a value off the count.
func (w *waiting) leave(source Source, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes -= bytes
	if w.bySource[source] -= bytes; w.bySource[source] == 0 {
		delete(w.bySource, source)
	}
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
}
