package pace

import (
	"context"
	"net/netip"
	"sync"
)

// locks is a lock for each address. It is held for a handshake: an Erlang node
// has room for one at a time, and several endpoints may lead to one node.
type locks struct {
	mu   sync.Mutex
	held map[netip.AddrPort]*lockOf // or waited for
}

type lockOf struct {
	token chan struct{}
	users int // who has it or waits for it; guarded by locks.mu
}

// lock waits for the lock of an address. Call release once.
func (a *locks) lock(ctx context.Context, addr netip.AddrPort) (release func(), err error) {
	a.mu.Lock()
	if a.held == nil {
		a.held = make(map[netip.AddrPort]*lockOf)
	}
	mine := a.held[addr]
	if mine == nil {
		mine = &lockOf{token: make(chan struct{}, 1)}
		a.held[addr] = mine
	}
	mine.users++
	a.mu.Unlock()

	leave := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(a.held, addr)
		}
	}
	select {
	case mine.token <- struct{}{}:
		return func() { <-mine.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
