package dialer

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/pace"
)

// dial is a handshake, which goes on when those who wait for it do not: an
// Erlang node has room for one, and a broken one holds it.
type dial struct {
	begun time.Time
	done  chan struct{}
	conn  *conn // or err, once done
	err   error

	// whatever: a session waits for it, so it is made though the node is in backoff.
	whatever atomic.Bool
	// limited is closed when it waits, as the node was dialled too often, until a time.
	limited chan struct{}
	until   time.Time // once limited; guarded by link.mu until then
}

// connect returns the connection, dialling it where there is none, and counts
// its caller's stream. All who wait share one handshake, and what came of it:
// nobody dials on and on an endpoint that accepts connections to close them. Where
// the connection is doubted another is dialled beside it.
func (l *link) connect(ctx context.Context, whatever bool) (*conn, error) {
	l.mu.Lock()
	if c := l.conn; c != nil && c.Context().Err() == nil {
		if !c.doubted() {
			c.streams++
			l.mu.Unlock()
			return c, nil
		}
	} else {
		l.retire(c)
	}
	d, begin := l.dial, l.dial == nil
	if begin {
		d = &dial{begun: time.Now(), done: make(chan struct{}), limited: make(chan struct{})}
		l.dial = d
	}
	if whatever {
		d.whatever.Store(true)
	}
	l.mu.Unlock()
	if begin {
		if err := l.dialer.spawn(l, func() { l.handshake(d) }); err != nil {
			l.dialled(d, nil, err)
		}
	}
	if err := l.await(ctx, d); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.conn.retired {
		return nil, l.failed(errConnLost)
	}
	d.conn.streams++
	return d.conn, nil
}

// await waits for a handshake. Who has not the time until the node may be dialled
// again is told at once.
func (l *link) await(ctx context.Context, d *dial) error {
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return gaveUp(ctx)
	case <-d.limited:
	}
	tooLate := l.dialer.pacer.Limit(d.until)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(d.until) {
		return tooLate
	}
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		if time.Now().Before(d.until) {
			return tooLate
		}
		return gaveUp(ctx)
	}
}

var errConnLost = errors.New("connection lost right after its handshake")

// dialled ends a handshake. A connection beside which it was made has had its
// chance: if nothing came on it all the while, it leads nowhere any more.
func (l *link) dialled(d *dial, c *quic.Conn, err error) {
	l.dialer.cfg.tracer.DialCompleted(time.Since(d.begun), resultOf(err))
	l.mu.Lock()
	old := l.conn
	l.dial = nil
	restarted := false
	switch {
	case c == nil:
	case old != nil && old.Context().Err() == nil && !old.doubted():
		l.dialer.pacer.Discard(c)
		d.conn = old
	default:
		d.conn = &conn{Conn: c}
		if restarted = old != nil && old.Context().Err() == nil; restarted {
			old.replaced = true
			old.CloseWithError(0, "")
		}
		l.retire(old)
		l.conn, l.addr = d.conn, remoteAddr(d.conn)
	}
	d.err = err
	close(d.done)
	l.mu.Unlock()
	if restarted {
		l.dialer.forgive(remoteAddr(d.conn), true)
	}
}

// handshake dials the addresses of the link's place.
func (l *link) handshake(d *dial) {
	c, err := l.dialPlace(d)
	if err != nil {
		err = l.failed(err)
	}
	l.dialled(d, c, err)
}

func (l *link) dialPlace(d *dial) (*quic.Conn, error) {
	cfg := &l.dialer.cfg
	resolving, cancel := context.WithTimeout(l.dialer.ctx, cfg.limits.DialTimeout)
	addrs, err := l.place.addresses(resolving, cfg.resolver)
	cancel()
	if err != nil {
		return nil, err
	}
	return l.dialer.pacer.Dial(l.dialer.ctx, addrs, pace.Race{
		Timeout: cfg.limits.DialTimeout,
		Dial:    l.dialAddr,
		May: func(addr netip.AddrPort) error {
			if !d.whatever.Load() && l.dialer.inBackoffAt(addr) {
				return ErrBackoff // nor is it dialled at another address of its name
			}
			return nil
		},
		Limited: func(until time.Time) { l.limit(d, until) },
	})
}

// limit has those who wait for a handshake know that it can not be made before a
// time.
func (l *link) limit(d *dial, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialAgain = until
	select {
	case <-d.limited:
	default:
		d.until = until
		close(d.limited)
	}
}

func (l *link) dialAddr(ctx context.Context, addr netip.AddrPort) (*quic.Conn, error) {
	to, err := Multiaddr(addr)
	if err != nil {
		return nil, err
	}
	cfg := &l.dialer.cfg
	always := func(*quic.Conn, uint64) bool { return true } // a reply is at most 1 MiB
	c, err := cfg.quic.DialQUIC(ctx, to, cfg.accepts.Config(l.place.Endpoint, ALPN), always)
	if unwanted, ok := errors.AsType[*identity.CertificateError](err); ok {
		err = unwanted // without QUIC's words about it
	}
	return c, err
}
