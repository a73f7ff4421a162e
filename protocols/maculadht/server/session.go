package server

import (
	"context"
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Session is what the serving loop knows of the connection that a stream is on.
// The streams of a connection share it.
type Session struct {
	Dialect Dialect
	// Peer is the libp2p peer at the other end, proven by its connection; empty
	// on a transport that proves nothing.
	Peer peer.ID
	// Remote is the address of the other end; invalid where it is hidden by a
	// relay.
	Remote netip.AddrPort
	// Source names the peer to the budgets: the peer id, or the IP address.
	Source string
	// Budget limits the peer's requests; nil for no limit.
	Budget *rate.Limiter
	// Untouched is shown each frame that is not answered and changes nothing here,
	// such as a PONG, before the next one is read. Its payload is valid during the
	// call. It may be nil.
	Untouched func(wire.Frame)
	// Admit takes a CONNECT whose realm is ours, before it is answered. It
	// returns nil, or why the peer is turned away. It may be nil.
	Admit func(context.Context, *wire.Connect) *wire.Disconnect
}

func (s *Session) origin() Origin {
	o := Origin{Source: s.Source}
	if s.Peer != "" {
		o.Node = routing.IDFromPeer(s.Peer)
	}
	return o
}

// The default budget of a peer: many times what any honest one asks for, and
// less than would keep others waiting.
const (
	DefaultPeerRate  rate.Limit = 50_000 // frames a second
	DefaultPeerBurst int        = 100_000
)

// Budgets hands out one rate limiter to all connections of a source, and
// forgets it with the last of them.
type Budgets struct {
	limit rate.Limit
	burst int

	mu       sync.Mutex
	bySource map[string]*budget
}

type budget struct {
	limiter *rate.Limiter
	users   int
}

// NewBudgets returns budgets of limit frames a second and burst at once.
func NewBudgets(limit rate.Limit, burst int) *Budgets {
	return &Budgets{limit: limit, burst: burst, bySource: make(map[string]*budget)}
}

// Acquire returns the limiter of a source, nil where there is no limit. Call
// release once when the connection has ended.
func (b *Budgets) Acquire(source string) (limiter *rate.Limiter, release func()) {
	if b.limit == rate.Inf {
		return nil, func() {}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.bySource[source]
	if u == nil {
		u = &budget{limiter: rate.NewLimiter(b.limit, b.burst)}
		b.bySource[source] = u
	}
	u.users++
	return u.limiter, sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if u.users--; u.users == 0 {
			delete(b.bySource, source)
		}
	})
}
