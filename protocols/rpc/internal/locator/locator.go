// Package locator finds at which nodes procedures are served, and remembers that for a
// while.
package locator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// For how long it is remembered who provides a procedure, that nobody does, and which
// libp2p peer is at an endpoint; and of how many.
const (
	foundFor   = 10 * time.Second
	missedFor  = 3 * time.Second
	gatewayFor = 10 * time.Second
	maxKnown   = 1024
)

// ErrBusy: too many procedures are being looked up.
var ErrBusy = errors.New("too many procedures are being looked up")

// Config is what a Locator looks with.
type Config struct {
	Service *maculadht.Service
	// Spawn runs a lookup in a goroutine, and reports false where no more are to begin.
	Spawn func(func(context.Context)) bool
	// Time is how long a lookup may take, AtOnce how many there may be, and Waiting how many
	// more may wait for their turn, by who asks.
	Time            time.Duration
	AtOnce, Waiting int
}

// Locator finds where procedures are served. It is safe for concurrent use.
type Locator struct {
	cfg  Config
	line *fair.Line // of lookups

	mu       sync.Mutex
	known    map[string]*finding // by procedure
	gateways map[string]place
}

// finding is what comes of a lookup.
type finding struct {
	done      chan struct{} // closed when the rest is set
	providers []maculadht.Provider
	err       error // ErrBusy or proto.ErrClosed where it was not looked up
	until     time.Time
}

// place is which peer is at an endpoint.
type place struct {
	peer  peer.AddrInfo // empty for none
	until time.Time
}

// New returns a locator that knows nothing yet.
func New(cfg Config) *Locator {
	return &Locator{cfg: cfg, known: make(map[string]*finding), gateways: make(map[string]place), line: fair.NewLine(cfg.AtOnce, cfg.Waiting)}
}

// Contact returns the libp2p contact with a node id.
func (l *Locator) Contact(nodeID []byte) (peer.AddrInfo, bool) {
	if len(nodeID) != len(routing.ID{}) {
		return peer.AddrInfo{}, false
	}
	c, ok := l.cfg.Service.Routing().Contact(routing.IDFromBytes(nodeID))
	return peer.AddrInfo{ID: c.Peer, Addrs: c.Addrs}, ok && c.Peer != ""
}

// GatewayAt returns the libp2p contact that serves Erlang nodes at an endpoint.
func (l *Locator) GatewayAt(endpoint string) (peer.AddrInfo, bool) {
	if endpoint == "" {
		return peer.AddrInfo{}, false
	}
	now := time.Now()
	l.mu.Lock()
	at, known := l.gateways[endpoint]
	l.mu.Unlock()
	if known && now.Before(at.until) {
		return at.peer, at.peer.ID != ""
	}
	at = place{until: now.Add(gatewayFor)}
	for _, c := range l.cfg.Service.Routing().Contacts() {
		if c.Peer != "" && c.Endpoint == endpoint {
			at.peer = peer.AddrInfo{ID: c.Peer, Addrs: c.Addrs}
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.gateways) >= maxKnown {
		clear(l.gateways)
	}
	l.gateways[endpoint] = at
	return at.peer, at.peer.ID != ""
}

// Find returns who provides a procedure. All who ask for one share a lookup, which has its
// turn by who was the first; where too many wait, and the asker's network has most of them,
// the error is an ErrBusy, after the last lookup a [proto.ErrClosed], and else that of ctx.
func (l *Locator) Find(ctx context.Context, procedure string, by fair.Payer) ([]maculadht.Provider, error) {
	for {
		f, own := l.begin(procedure, by)
		select {
		case <-f.done:
			if f.err == ErrBusy && !own {
				continue // it was another's turn that was lost
			}
			return f.providers, f.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin returns what comes of a lookup, and whether it was begun for this payer.
func (l *Locator) begin(procedure string, by fair.Payer) (f *finding, own bool) {
	l.mu.Lock()
	f = l.known[procedure]
	if f != nil {
		select {
		case <-f.done:
			if f.err != nil || !time.Now().Before(f.until) {
				f = nil
			}
		default:
		}
	}
	if f != nil {
		l.mu.Unlock()
		return f, false
	}
	f = &finding{done: make(chan struct{})}
	if len(l.known) >= maxKnown {
		l.makeRoom()
	}
	l.known[procedure] = f
	l.mu.Unlock()
	work := &fair.Work{Payer: by, Refused: func() { l.end(f, nil, ErrBusy, 0) }}
	work.Begin = func() {
		if !l.cfg.Spawn(func(ctx context.Context) {
			defer l.line.Leave(work)
			l.look(ctx, procedure, f)
		}) {
			l.line.Leave(work)
			l.end(f, nil, proto.ErrClosed, 0)
		}
	}
	l.line.Enter(work)
	return f, true
}

// end notes what came of a lookup, and for how long that is believed.
func (l *Locator) end(f *finding, providers []maculadht.Provider, err error, believed time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.providers, f.err, f.until = providers, err, time.Now().Add(believed)
	close(f.done)
}

// makeRoom forgets what is out of date, or else one that is not.
func (l *Locator) makeRoom() {
	now := time.Now()
	var any string
	for procedure, f := range l.known {
		select {
		case <-f.done:
			any = procedure
			if now.After(f.until) {
				delete(l.known, procedure)
			}
		default:
		}
	}
	if len(l.known) >= maxKnown {
		delete(l.known, any)
	}
}

func (l *Locator) look(ctx context.Context, procedure string, f *finding) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Time)
	defer cancel()
	providers, err := l.cfg.Service.FindProviders(ctx, procedure)
	believed := foundFor
	switch {
	case len(providers) > 0:
	case errors.Is(err, maculadht.ErrNotFound):
		believed = missedFor
	default: // nobody could be asked
		believed = 0
	}
	l.end(f, providers, nil, believed)
}
