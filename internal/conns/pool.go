package conns

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// ErrGaveWay means that a peer's connections are being closed, as its group was the
// heaviest. It is a network.ErrResourceLimitExceeded.
var ErrGaveWay = fmt.Errorf("the connection gives way to others: %w", network.ErrResourceLimitExceeded)

// Pool counts what connections cost. It is safe for concurrent use.
type Pool struct {
	limits     Limits
	handshakes *handshakes
	made       time.Time

	closing sync.WaitGroup // connections that give way
	serial  atomic.Uint64  // of peers without an identity

	mu       sync.Mutex
	closed   bool
	holders  map[peer.ID]*holder
	groups   map[netip.Prefix]*group
	used     usage
	gaveWay  uint64
	peak     int64 // of used, since memory was given back
	giveBack *time.Timer
}

// usage is in bytes.
type usage struct{ fixed, buffered int64 }

func (u usage) sum() int64 { return u.fixed + u.buffered }

func (u *usage) add(fixed, buffered int64) {
	u.fixed += fixed
	u.buffered += buffered
}

// group is what the peers of an IP group have.
type group struct {
	used    usage
	sources map[netip.Prefix]int64 // the same by address
	holders map[*holder]struct{}
}

// holder is a peer, and what it has; Pool.mu guards it.
type holder struct {
	id            peer.ID
	source, group netip.Prefix
	used          usage
	conns         map[*conn]struct{}
	streams       int
	active        atomic.Int64 // when it did something last, in ns since the pool was made
	gone          bool         // it gave way, and counts no more
}

// conn is one connection of a holder. Until it is known how to close it, it can not give
// way.
type conn struct {
	of    *holder
	close func()
}

// NewPool returns a pool of no connections. Close it.
func NewPool(limits Limits) (*Pool, error) {
	limits, err := limits.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Pool{
		limits:     limits,
		handshakes: newHandshakes(limits),
		made:       time.Now(),
		holders:    make(map[peer.ID]*holder),
		groups:     make(map[netip.Prefix]*group),
	}, nil
}

// Close waits for the connections that are being closed. No more are from then on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	if p.giveBack != nil {
		p.giveBack.Stop()
	}
	p.mu.Unlock()
	p.closing.Wait()
}

// Limits returns what the pool was made with, the defaults filled in.
func (p *Pool) Limits() Limits { return p.limits }

// Stats is a snapshot of a Pool.
type Stats struct {
	Conns, Streams, Peers, Groups int    // now
	Memory, Buffered              int64  // that they cost now, in bytes
	GaveWay                       uint64 // connections that were closed for others, since the start
	Handshakes                    HandshakeStats
}

// Stats returns what there is now.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{
		Peers: len(p.holders), Groups: len(p.groups),
		Memory: p.used.fixed, Buffered: p.used.buffered,
		GaveWay: p.gaveWay, Handshakes: p.handshakes.snapshot(),
	}
	for _, h := range p.holders {
		s.Conns += len(h.conns)
		s.Streams += h.streams
	}
	return s
}

// open counts a connection of a peer, from an address.
func (p *Pool) open(id peer.ID, ip netip.Addr) *conn {
	p.mu.Lock()
	h := p.holders[id]
	if h == nil {
		h = &holder{id: id, conns: make(map[*conn]struct{})}
		h.source, h.group = p.limits.networks(ip)
		p.holders[id] = h
		g := p.groups[h.group]
		if g == nil {
			g = &group{sources: make(map[netip.Prefix]int64), holders: make(map[*holder]struct{})}
			p.groups[h.group] = g
		}
		g.holders[h] = struct{}{}
	}
	c := &conn{of: h}
	h.conns[c] = struct{}{}
	p.touch(h)
	p.add(h, ConnCost, 0)
	p.unlockAndGiveWay()
	return c
}

// bind says how a connection is closed, which is done at once where it has given way.
func (p *Pool) bind(c *conn, close func()) {
	p.mu.Lock()
	c.close = close
	late := c.of.gone
	if late {
		p.end(c)
	}
	p.unlockAndGiveWay()
}

// drop ends the count of a connection.
func (p *Pool) drop(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := c.of
	delete(h.conns, c)
	p.add(h, -ConnCost, 0)
	if len(h.conns) == 0 {
		p.forget(h)
	}
}

// touch notes that a holder, if there is one, does something; it may be called without p.mu.
func (p *Pool) touch(h *holder) {
	if h != nil {
		h.active.Store(int64(time.Since(p.made)))
	}
}

// holder returns the peer of an id that has a connection, nil where none counts.
func (p *Pool) holder(id peer.ID) *holder {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holders[id]
}

// stream counts a stream of a peer; of nil nothing counts.
func (p *Pool) stream(h *holder) {
	if h == nil {
		return
	}
	p.mu.Lock()
	defer p.unlockAndGiveWay()
	h.streams++
	p.touch(h)
	p.add(h, StreamCost, 0)
}

// dropStream ends the count of a stream.
func (p *Pool) dropStream(h *holder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.streams--
	p.add(h, -StreamCost, 0)
}

// buffer counts n bytes more that are buffered for a holder, which may be negative. It
// fails with ErrGaveWay.
func (p *Pool) buffer(h *holder, n int) error {
	if n == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.unlockAndGiveWay()
	if h.gone && n > 0 {
		return ErrGaveWay
	}
	p.add(h, 0, int64(n))
	if n > 0 {
		p.touch(h)
	}
	return nil
}

// add adds to what a holder has; p.mu is held.
func (p *Pool) add(h *holder, fixed, buffered int64) {
	if h.gone { // it was all taken off at once
		return
	}
	g := p.groups[h.group]
	h.used.add(fixed, buffered)
	g.used.add(fixed, buffered)
	p.used.add(fixed, buffered)
	if g.sources[h.source] += fixed + buffered; g.sources[h.source] == 0 {
		delete(g.sources, h.source)
	}
	p.peak = max(p.peak, p.used.sum())
}

// forget takes off all that a holder has; p.mu is held.
func (p *Pool) forget(h *holder) {
	if h.gone {
		return
	}
	p.add(h, -h.used.fixed, -h.used.buffered)
	h.gone = true
	delete(p.holders, h.id)
	g := p.groups[h.group]
	if delete(g.holders, h); len(g.holders) == 0 {
		delete(p.groups, h.group)
	}
	p.mayGiveBack()
}

// unlockAndGiveWay has the heaviest give way while there is too much.
func (p *Pool) unlockAndGiveWay() {
	defer p.mu.Unlock()
	for p.used.sum() > p.limits.Memory+p.limits.Buffered || p.used.fixed > p.limits.Memory || p.used.buffered > p.limits.Buffered {
		h := p.heaviest()
		if h == nil {
			return
		}
		p.dismiss(h)
	}
}

// dismiss has a holder give way; p.mu is held.
func (p *Pool) dismiss(h *holder) {
	p.gaveWay += uint64(len(h.conns))
	p.forget(h)
	for c := range h.conns {
		p.end(c)
	}
}

// end closes a connection, if it is known how; p.mu is held.
func (p *Pool) end(c *conn) {
	if c.close != nil && !p.closed {
		p.closing.Go(c.close)
	}
}

// heaviest returns who is to give way, nil for nobody; p.mu is held.
func (p *Pool) heaviest() (worst *holder) {
	var heavy *group
	for _, g := range p.groups {
		if g.used.sum() > Allowance && (heavy == nil || g.used.sum() > heavy.used.sum()) && g.closable() {
			heavy = g
		}
	}
	if heavy == nil {
		for _, h := range p.holders {
			if h.closable() && (worst == nil || h.active.Load() < worst.active.Load()) {
				worst = h
			}
		}
		return worst
	}
	for h := range heavy.holders {
		if h.closable() && (worst == nil || heavy.before(h, worst)) {
			worst = h
		}
	}
	return worst
}

// before reports whether a is to give way before b. A peer is heavy as a group is: else one
// that asks something would go before all that hold a connection and do nothing with it.
func (g *group) before(a, b *holder) bool {
	if of, other := g.sources[a.source], g.sources[b.source]; of != other {
		return of > other
	}
	if of, other := max(a.used.sum(), Allowance), max(b.used.sum(), Allowance); of != other {
		return of > other
	}
	return a.active.Load() < b.active.Load()
}

func (g *group) closable() bool {
	for h := range g.holders {
		if h.closable() {
			return true
		}
	}
	return false
}

func (h *holder) closable() bool {
	for c := range h.conns {
		if c.close != nil {
			return true
		}
	}
	return false
}

const (
	// giveBackOver is how much less than at its peak there is, in bytes, when the memory
	// of the difference is given back to the system.
	giveBackOver = 32 << 20
	// giveBackAfter is how long it takes until that is done: what went may not have ended.
	giveBackAfter = 10 * time.Second
)

// mayGiveBack has memory given back soon where much has gone: a quiet program would keep
// it for minutes. p.mu is held.
func (p *Pool) mayGiveBack() {
	if p.closed || p.giveBack != nil || p.peak-p.used.sum() < giveBackOver {
		return
	}
	p.giveBack = time.AfterFunc(giveBackAfter, func() {
		p.mu.Lock()
		p.giveBack = nil
		p.peak = p.used.sum()
		closed := p.closed
		p.mu.Unlock()
		if !closed {
			debug.FreeOSMemory()
		}
	})
}
