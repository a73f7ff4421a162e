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

// window counts the dials of each address in a sliding window.
type window struct {
	dials  int
	length time.Duration

	mu   sync.Mutex
	made map[netip.AddrPort][]time.Time // the last ones, at most dials, oldest first
}

// free returns when an address may be dialled next; a time that has passed, or
// zero, where at once.
func (w *window) free(addr netip.AddrPort) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	made := w.made[addr]
	if len(made) < w.dials {
		return time.Time{}
	}
	return made[len(made)-w.dials].Add(w.length)
}

// take waits until an address may be dialled, and counts that it is; its caller
// has the address's lock. It returns how long it waited.
func (w *window) take(ctx context.Context, addr netip.AddrPort) (waited time.Duration, err error) {
	start := time.Now()
	if wait := time.Until(w.free(addr)); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.forget(now)
	made := append(w.made[addr], now)
	w.made[addr] = made[max(0, len(made)-w.dials):]
	return now.Sub(start), nil
}

// forget drops the addresses that were not dialled within the window; w.mu is held.
func (w *window) forget(now time.Time) {
	for addr, made := range w.made {
		if now.Sub(made[len(made)-1]) >= w.length {
			delete(w.made, addr)
		}
	}
}
