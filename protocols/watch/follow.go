package watch

import (
	"context"
	"sync"

	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// following is a key that somebody else looks up, who wants to be told when.
type following struct {
	cancel  context.CancelFunc
	renewed chan struct{} // has a token when closest has changed

	mu      sync.Mutex
	closest []routing.Contact
	change  bool // a lookup since then has found one
}

// Follow implements [resolver.Follower]: it has the holders of a key that it is told of call
// changed, and looks nothing up. It counts as none of Limits.Watches.
func (w *Watcher) Follow(key []byte, changed func()) resolver.Following {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	f := &following{renewed: make(chan struct{}, 1)}
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(w.ctx)
	w.tasks.Go(func() {
		defer f.cancel()
		h := newHolders(ctx, w, key, changed)
		defer h.close()
		for {
			select {
			case <-f.renewed:
				f.mu.Lock()
				closest, change := f.closest, f.change
				f.change = false
				f.mu.Unlock()
				h.looked(closest, change)
			case <-ctx.Done():
				return
			}
		}
	})
	return f
}

// Looked implements [resolver.Following].
func (f *following) Looked(closest []routing.Contact, change bool) {
	f.mu.Lock()
	f.closest, f.change = closest, f.change || change
	f.mu.Unlock()
	select {
	case f.renewed <- struct{}{}:
	default:
	}
}

// Close implements [resolver.Following].
func (f *following) Close() { f.cancel() }
