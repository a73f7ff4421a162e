// Package pace dials nodes no oftener, and no more at once, than an Erlang node
// takes it: it has room for one handshake, and some versions close what is more
// than 5 connections of one source in 10 s.
//
// The addresses of a name, which [Resolve] looks up, race, so that dead ones cost no
// time (RFC 8305).
package pace

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// A node that refused a handshake has another one under way. It is dialled again
// after firstRetry, and after three times as long each time.
const (
	firstRetry  = 200 * time.Millisecond
	retryGrowth = 3
)

// Pacer dials. All who dial the same nodes share one. It is safe for concurrent
// use.
type Pacer struct {
	stagger time.Duration
	locks   locks
	window  window

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// New returns a Pacer that dials each address at most so many times within a
// window, and the next address of a name after stagger. Close it.
func New(dials int, within, stagger time.Duration) *Pacer {
	p := &Pacer{stagger: stagger}
	p.window = window{dials: dials, length: within, made: make(map[netip.AddrPort]*history)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Beside reports whether another protocol may dial an address now, and counts its
// dial where it may: a node does not tell which protocol a connection is for, so
// to one that is dialled here too all of them together keep to the limit.
func (p *Pacer) Beside(addr netip.AddrPort) bool { return p.window.beside(addr) }

// Close ends the dials that are under way and waits for them.
func (p *Pacer) Close() {
	p.cancel()
	p.tasks.Wait()
}

// settle is how long a connection is kept that is not wanted: its handshake ends
// for the node only with what we still send.
const settle = 200 * time.Millisecond

// Discard closes a connection in order that was dialled in vain. It returns at
// once.
func (p *Pacer) Discard(conn *quic.Conn) {
	p.tasks.Go(func() {
		select {
		case <-time.After(settle):
		case <-p.ctx.Done():
		}
		conn.CloseWithError(0, "")
	})
}

// Race is how the addresses of a node are dialled.
type Race struct {
	// Dial makes a handshake with an address.
	Dial func(ctx context.Context, addr netip.AddrPort) (*quic.Conn, error)
	// Timeout is how long each address has for a handshake, retries of refused ones
	// included; what it waits because it was dialled too often does not count.
	Timeout time.Duration
	// May, where it is set, says why an address is not dialled after all; it is
	// asked once it is the address's turn.
	May func(netip.AddrPort) error
	// Limited, where it is set, is told when no address may be dialled before a
	// time, as all were dialled too often.
	Limited func(until time.Time)
}

// Dial returns a connection to one of some addresses, which are tried in their order,
// each next one after a moment or once one before it failed. A handshake that is
// under way when another address has won is not broken off, as the node would
// wait for it: its connection is closed in order.
func (p *Pacer) Dial(ctx context.Context, addrs []netip.AddrPort, r Race) (*quic.Conn, error) {
	if len(addrs) == 0 {
		return nil, errors.New("no address to dial")
	}
	type result struct {
		conn *quic.Conn
		err  error
	}
	results := make(chan result)
	race, over := context.WithCancel(p.ctx)
	defer over()
	limits := &limits{of: len(addrs), limited: make(map[netip.AddrPort]time.Time), tell: r.Limited}
	start := func(addr netip.AddrPort) {
		p.tasks.Go(func() {
			conn, err := p.attempt(race, addr, r, limits)
			select {
			case results <- result{conn, err}:
			case <-race.Done():
				if conn != nil {
					p.Discard(conn)
				}
			}
		})
	}
	next := time.NewTimer(0)
	defer next.Stop()
	var errs error
	for started, failed := 0, 0; failed < len(addrs); {
		select {
		case <-next.C:
			start(addrs[started])
			if started++; started < len(addrs) {
				next.Reset(p.stagger)
			}
		case res := <-results:
			if res.err == nil {
				return res.conn, nil
			}
			errs = errors.Join(errs, res.err)
			if failed++; started < len(addrs) {
				next.Reset(0)
			}
		case <-ctx.Done():
			return nil, errors.Join(errs, context.Cause(ctx))
		case <-race.Done(): // with Close
			return nil, errors.Join(errs, race.Err())
		}
	}
	return nil, errs
}

// attempt dials one address until it works, is not refused any more, takes too
// long, or the race is over before a handshake has begun.
func (p *Pacer) attempt(race context.Context, addr netip.AddrPort, r Race, l *limits) (*quic.Conn, error) {
	deadline := time.Now().Add(r.Timeout)
	var refusal error // says more than that the time was up
	for pause := firstRetry; ; pause *= retryGrowth {
		conn, waited, err := p.once(race, addr, deadline, r, l)
		deadline = deadline.Add(waited)
		switch {
		case err == nil:
			return conn, nil
		case Refused(err):
			refusal = err
		case refusal != nil && !time.Now().Before(deadline):
			return nil, refusal
		default:
			return nil, err
		}
		wait := pause/2 + rand.N(pause) // others may have been refused with us
		if again := time.Now().Add(wait); !again.Before(deadline) || p.window.free(addr).After(deadline) {
			wait = time.Until(deadline)
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-race.Done():
			again.Stop()
		}
		if race.Err() != nil || !time.Now().Before(deadline) {
			return nil, refusal
		}
	}
}

// once dials an address when it is its turn, and returns how long it waited as it
// was dialled too often before.
func (p *Pacer) once(race context.Context, addr netip.AddrPort, deadline time.Time, r Race, l *limits) (conn *quic.Conn, waited time.Duration, err error) {
	l.note(addr, p.window.free(addr))
	turn, cancel := context.WithDeadline(race, deadline)
	defer cancel()
	release, err := p.locks.lock(turn, addr)
	if err != nil {
		if free := p.window.free(addr); free.After(time.Now()) && race.Err() == nil {
			err = p.Limit(free)
		}
		return nil, 0, err
	}
	defer release()
	if r.May != nil {
		if err := r.May(addr); err != nil {
			return nil, 0, err
		}
	}
	l.note(addr, p.window.free(addr))
	if waited, err = p.window.take(race, addr); err != nil {
		return nil, waited, err
	}
	dialling, cancel := context.WithDeadline(p.ctx, deadline.Add(waited))
	defer cancel()
	conn, err = r.Dial(dialling, addr)
	return conn, waited, err
}

// limits tells when all addresses of a race are limited.
type limits struct {
	mu      sync.Mutex
	of      int // addresses
	limited map[netip.AddrPort]time.Time
	tell    func(until time.Time)
}

// note takes down when an address may be dialled.
func (l *limits) note(addr netip.AddrPort, free time.Time) {
	if !free.After(time.Now()) || l.tell == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited[addr] = free
	if len(l.limited) < l.of {
		return
	}
	first := free
	for _, until := range l.limited {
		if until.Before(first) {
			first = until
		}
	}
	l.tell(first)
}

// Limit returns the LimitError of an address that may not be dialled before a
// time.
func (p *Pacer) Limit(until time.Time) error {
	return &LimitError{until, p.window.dials, p.window.length}
}

// Refused reports whether a handshake failed because the node takes one at a
// time.
func Refused(err error) bool {
	t, ok := errors.AsType[*quic.TransportError](err)
	return ok && t.Remote && t.ErrorCode == quic.ConnectionRefused
}
