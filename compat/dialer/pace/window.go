package pace

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// LimitError: an address was dialled as often as it may be, so it was not dialled
// once more. It is a proto.ErrResting: the node there is not to blame.
type LimitError struct {
	Until  time.Time // when it may be dialled again
	Dials  int       // that were made
	Window time.Duration
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("dialled %d times within %v, which is what it takes: again in %v",
		e.Dials, e.Window, max(0, time.Until(e.Until)).Round(100*time.Millisecond))
}

// Is has it be a proto.ErrResting and a proto.ErrUnreachable.
func (e *LimitError) Is(target error) bool {
	return target == proto.ErrResting || target == proto.ErrUnreachable
}

// remembered is for how long an address that was dialled here keeps other protocols
// to the limit too.
const remembered = time.Hour

// window counts the dials of each address in a sliding window.
type window struct {
	dials  int
	length time.Duration

	mu     sync.Mutex
	made   map[netip.AddrPort]*history
	forgot time.Time // when those that are over were last dropped
}

// history is what was dialled of one address.
type history struct {
	last   []time.Time // the last ones, as many as count, oldest first
	beside []time.Time // those of them, or before them, that other protocols made
	ours   time.Time   // when one was last made here; zero for never
}

// free returns when an address may be dialled next; a time that has passed, or
// zero, where at once.
func (w *window) free(addr netip.AddrPort) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.freeLocked(w.made[addr])
}

func (w *window) freeLocked(d *history) time.Time {
	if d == nil || len(d.last) < w.dials {
		return time.Time{}
	}
	return d.last[len(d.last)-w.dials].Add(w.length)
}

// take waits until an address may be dialled, and counts that it is; its caller
// has the address's lock. It returns how long it waited.
func (w *window) take(ctx context.Context, addr netip.AddrPort) (waited time.Duration, err error) {
	start := time.Now()
	for {
		now := time.Now()
		w.mu.Lock()
		wait := w.freeLocked(w.made[addr]).Sub(now)
		if wait <= 0 {
			w.count(addr, now).ours = now
			w.mu.Unlock()
			return now.Sub(start), nil
		}
		w.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C: // another protocol may have been quicker
		case <-ctx.Done():
			timer.Stop()
			return 0, ctx.Err()
		}
	}
}

// beside counts a dial of another protocol, unless the address was dialled here
// lately and as often as it may be, or half of that by other protocols: whoever has
// them dial can not keep us from it.
func (w *window) beside(addr netip.AddrPort) bool {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	half := max(w.dials/2, 1)
	d := w.made[addr]
	if d != nil && !d.ours.IsZero() {
		often := len(d.beside) == half && now.Sub(d.beside[0]) < w.length
		if often || w.freeLocked(d).After(now) {
			return false
		}
	}
	d = w.count(addr, now)
	d.beside = append(d.beside, now)
	d.beside = d.beside[max(0, len(d.beside)-half):]
	return true
}

// count enters a dial; w.mu is held.
func (w *window) count(addr netip.AddrPort, now time.Time) *history {
	w.forget(now)
	d := w.made[addr]
	if d == nil {
		d = new(history)
		w.made[addr] = d
	}
	d.last = append(d.last, now)
	d.last = d.last[max(0, len(d.last)-w.dials):]
	return d
}

// forget drops the addresses that concern nobody any more, once a window; w.mu is
// held.
func (w *window) forget(now time.Time) {
	if now.Sub(w.forgot) < w.length {
		return
	}
	w.forgot = now
	for addr, d := range w.made {
		if now.Sub(d.last[len(d.last)-1]) >= w.length && now.Sub(d.ours) >= remembered {
			delete(w.made, addr)
		}
	}
}
