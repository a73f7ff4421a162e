package dialer

import (
	"context"
	"net/netip"
	"sync"
)

// turns lets one at a time shake hands with an address: an Erlang node has room
// for no more, and several endpoints may lead to one.
type turns struct {
	mu     sync.Mutex
	taking map[netip.AddrPort]*turn
}

type turn struct {
	token chan struct{}
	users int // who has it or waits for it; guarded by turns.mu
}

// take waits for its turn at an address. Call release once.
func (t *turns) take(ctx context.Context, addr netip.AddrPort) (release func(), err error) {
	t.mu.Lock()
	if t.taking == nil {
		t.taking = make(map[netip.AddrPort]*turn)
	}
	mine := t.taking[addr]
	if mine == nil {
		mine = &turn{token: make(chan struct{}, 1)}
		t.taking[addr] = mine
	}
	mine.users++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.taking, addr)
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
