package routing

import (
	"errors"
	"sync"
)

// MaxGuests is how many connections of guests are counted at one time.
const MaxGuests = 4096

// Why a guest was not attached.
var (
	// ErrGuestsFull means that [MaxGuests] connections are attached.
	ErrGuestsFull = errors.New("too many guests")
	// ErrNotErlang means that a libp2p contact was offered as a guest.
	ErrNotErlang = errors.New("guest is not an Erlang node")
)

// guests are the Erlang nodes connected to us, whose ids and endpoints are claims:
// counted, never named, never dialled.
type guests struct {
	self ID

	mu    sync.Mutex
	conns map[ID]int // of each node
	count int        // of connections
}

func newGuests(self ID) *guests { return &guests{self: self, conns: make(map[ID]int)} }

// attach counts c until detach is called; calling it again does nothing.
func (g *guests) attach(c Contact) (detach func(), err error) {
	switch {
	case c.ID == g.self:
		return nil, ErrSelf
	case !c.IsErlang():
		return nil, ErrNotErlang
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count >= MaxGuests {
		return nil, ErrGuestsFull
	}
	g.count++
	g.conns[c.ID]++
	return sync.OnceFunc(func() { g.detach(c.ID) }), nil
}

func (g *guests) detach(id ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	if g.conns[id]--; g.conns[id] == 0 {
		delete(g.conns, id)
	}
}

// len returns how many different nodes are attached.
func (g *guests) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}
