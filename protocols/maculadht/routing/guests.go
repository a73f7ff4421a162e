package routing

import (
	"errors"
	"slices"
	"sync"
)

// MaxGuests is how many connections of guests are listed at one time.
const MaxGuests = 4096

// Why a guest was not attached.
var (
	// ErrGuestsFull means that [MaxGuests] connections are attached.
	ErrGuestsFull = errors.New("too many guests")
	// ErrNotErlang means that a libp2p contact was offered as a guest.
	ErrNotErlang = errors.New("guest is not an Erlang node")
)

// guests are the Erlang nodes connected to us: listed, unverified, never
// dialled. Their endpoints are claims, so one guest never hides another by
// naming the same one.
type guests struct {
	mu       sync.RWMutex
	attached map[ID][]*Contact // one for each connection, newest last
	count    int               // of connections
	listed   buckets           // the newest of each id
}

func newGuests(self ID) *guests {
	return &guests{attached: make(map[ID][]*Contact), listed: buckets{self: self}}
}

// attach lists c until detach is called; calling it again does nothing.
func (g *guests) attach(c Contact) (detach func(), err error) {
	if c.ID == g.listed.self {
		return nil, ErrSelf
	}
	if !c.IsErlang() {
		return nil, ErrNotErlang
	}
	guest := c.clone()
	guest.Verified = false

	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count >= MaxGuests {
		return nil, ErrGuestsFull
	}
	g.count++
	g.attached[guest.ID] = append(g.attached[guest.ID], guest)
	g.listed.put(guest)
	return sync.OnceFunc(func() { g.detach(guest) }), nil
}

func (g *guests) detach(guest *Contact) {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := g.attached[guest.ID]
	i := slices.Index(left, guest)
	left = slices.Delete(left, i, i+1)
	g.count--
	if len(left) == 0 {
		delete(g.attached, guest.ID)
		g.listed.remove(guest.ID)
		return
	}
	g.attached[guest.ID] = left
	g.listed.put(left[len(left)-1])
}

func (g *guests) collect(near *nearest) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.listed.collect(near)
}

// len returns how many different nodes are listed.
func (g *guests) len() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.listed.count
}
