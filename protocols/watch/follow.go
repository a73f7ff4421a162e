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
				closest := f.closest
				f.mu.Unlock()
				h.renew(closest)
			case <-ctx.Done():
				return
			}
		}
	})
	return f
}

// Renew implements [resolver.Following].
func (f *following) Renew(closest []routing.Contact) {
	f.mu.Lock()
	f.closest = closest
	f.mu.Unlock()
	select {
	case f.renewed <- struct{}{}:
	default:
	}
}

// Close implements [resolver.Following].
func (f *following) Close() { f.cancel() }
