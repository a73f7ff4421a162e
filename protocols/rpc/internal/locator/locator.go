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

// Service is what of a [maculadht.Service] a Locator asks.
type Service interface {
	FindProviders(ctx context.Context, name string) ([]maculadht.Provider, error)
	Routing() *routing.Server
}

// Config is what a Locator looks with.
type Config struct {
	Service Service
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

// finding is what comes of a lookup. All of it but done is guarded by Locator.mu, until
// that is closed.
type finding struct {
	done      chan struct{} // closed when the rest is set
	providers []maculadht.Provider
	err       error // proto.ErrClosed where it was not looked up
	until     time.Time

	lookup  *fair.Once
	begun   bool
	askers  int                          // who wait for it
	gaveWay map[fair.Payer]chan struct{} // closed when the turn of a payer's askers is lost
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

// GatewayAt returns the libp2p contact that serves Erlang nodes at an endpoint, and was seen
// at its address: anybody may say that it is his.
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
		if c.Peer != "" && c.Endpoint == endpoint && c.EndpointSeen {
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

// Where returns the libp2p peer that is asked for a provider. Addresses in a record that is
// not proved may be anybody's, and are not dialled: such a peer is asked that is a contact,
// or connected.
func (l *Locator) Where(p maculadht.Provider) (peer.AddrInfo, bool) {
	at := p.Peer
	if at.ID == "" {
		return l.GatewayAt(p.Endpoint)
	}
	if !p.Proved {
		at.Addrs = nil
		if contact, ok := l.Contact(p.NodeID); ok {
			at = contact
		}
	}
	return at, true
}

// Find returns who provides a procedure. All who ask for one share a lookup, at the turn of
// whoever of them has the first; where too many wait, and the asker's network has most of
// them, the error is an ErrBusy, after the last lookup a [proto.ErrClosed], and else that of
// ctx.
func (l *Locator) Find(ctx context.Context, procedure string, by fair.Payer) ([]maculadht.Provider, error) {
	f, gaveWay := l.join(procedure, by)
	defer l.leave(procedure, f)
	f.lookup.Want(by)
	select {
	case <-f.done:
		return f.providers, f.err
	case <-gaveWay:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join returns what comes of a lookup, which may be there already, and what is closed when
// the payer's turn is lost. Leave it.
func (l *Locator) join(procedure string, by fair.Payer) (f *finding, gaveWay <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f = l.known[procedure]
	if f == nil || f.isDone() && (f.err != nil || !time.Now().Before(f.until)) {
		if len(l.known) >= maxKnown {
			l.makeRoom()
		}
		f = l.newFinding(procedure)
		l.known[procedure] = f
	}
	f.askers++
	lost := f.gaveWay[by]
	if lost == nil && !f.isDone() {
		lost = make(chan struct{})
		f.gaveWay[by] = lost
	}
	return f, lost
}

// leave ends what join began. A lookup that nobody waits for any more does not begin.
func (l *Locator) leave(procedure string, f *finding) {
	l.mu.Lock()
	f.askers--
	forgotten := f.askers == 0 && !f.begun && !f.isDone()
	if forgotten && l.known[procedure] == f {
		delete(l.known, procedure)
	}
	l.mu.Unlock()
	if forgotten {
		f.lookup.Forget()
	}
}

// newFinding returns one that is not looked up yet.
func (l *Locator) newFinding(procedure string) *finding {
	f := &finding{done: make(chan struct{}), gaveWay: make(map[fair.Payer]chan struct{})}
	f.lookup = fair.NewOnce(l.line, func(leave func()) {
		l.mu.Lock()
		f.begun = true
		l.mu.Unlock()
		if !l.cfg.Spawn(func(ctx context.Context) {
			defer leave()
			l.look(ctx, procedure, f)
		}) {
			leave()
			l.end(f, nil, proto.ErrClosed, 0)
		}
	}, func(by fair.Payer) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if lost := f.gaveWay[by]; lost != nil {
			delete(f.gaveWay, by)
			close(lost)
		}
	})
	return f
}

func (f *finding) isDone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// end notes what came of a lookup, and for how long that is believed.
func (l *Locator) end(f *finding, providers []maculadht.Provider, err error, believed time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.providers, f.err, f.until, f.gaveWay = providers, err, time.Now().Add(believed), nil
	close(f.done)
}

// makeRoom forgets what is out of date, or else one that is not.
func (l *Locator) makeRoom() {
	now := time.Now()
	var any string
	for procedure, f := range l.known {
		if f.isDone() {
			any = procedure
			if now.After(f.until) {
				delete(l.known, procedure)
			}
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
