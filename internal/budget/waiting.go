package budget

import (
	"context"
	"sync"
)

const (
	// MaxWaiting is what the values that wait for the store may cost together, in bytes
	// as the storage counts them: so that a disk that hangs costs no more memory than that.
	MaxWaiting = 8 << 20
	// MaxWaitingOfSource is what those of one source may.
	MaxWaitingOfSource = MaxWaiting / 4
)

// Waiting counts the values that wait for a store. It is safe for concurrent use.
type Waiting struct {
	mu       sync.Mutex
	bytes    int64
	bySource map[Source]int64
	room     chan struct{} // closed when there may be room; nil where nobody waits for it
}

// NewWaiting returns a count of none.
func NewWaiting() *Waiting { return &Waiting{bySource: make(map[Source]int64)} }

// Enter counts a value of a source, as soon as there is room. One that is larger than
// all the room there is waits until it is alone. The error is that of ctx.
func (w *Waiting) Enter(ctx context.Context, source Source, bytes int64) error {
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
func (w *Waiting) tryEnter(source Source, bytes int64) (room <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.bySource[source]
	if w.bytes > 0 && w.bytes+bytes > MaxWaiting || of > 0 && of+bytes > MaxWaitingOfSource {
		if w.room == nil {
			w.room = make(chan struct{})
		}
		return w.room
	}
	w.bytes += bytes
	w.bySource[source] = of + bytes
	return nil
}

// Leave takes a value off the count.
func (w *Waiting) Leave(source Source, bytes int64) {
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

// Held returns how many bytes wait, and of how many sources.
func (w *Waiting) Held() (bytes int64, sources int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes, len(w.bySource)
}
