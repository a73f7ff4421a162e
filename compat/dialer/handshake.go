package dialer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/quic-go/quic-go"
)

// connect returns the connection, dialling it where there is none, and counts
// its caller's stream. All who wait share one handshake, and what came of it:
// nobody dials on and on an endpoint that accepts connections to close them.
func (l *link) connect(ctx context.Context) (*conn, error) {
	l.mu.Lock()
	if c := l.conn; c != nil && c.Context().Err() == nil {
		c.streams++
		l.mu.Unlock()
		return c, nil
	}
	l.retire(l.conn)
	d, begin := l.dial, l.dial == nil
	if begin {
		d = &dial{begun: time.Now(), done: make(chan struct{})}
		l.dial = d
	}
	l.mu.Unlock()
	if begin {
		if err := l.dialer.spawn(l, func() { l.handshake(d) }); err != nil {
			l.dialled(d, nil, err)
		}
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		return nil, gaveUp(ctx)
	}
	if d.err != nil {
		return nil, d.err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.conn.retired {
		return nil, l.failed(errConnLost)
	}
	d.conn.streams++
	return d.conn, nil
}

var errConnLost = errors.New("connection lost right after its handshake")

// dialled ends a handshake.
func (l *link) dialled(d *dial, c *quic.Conn, err error) {
	l.dialer.cfg.tracer.DialCompleted(time.Since(d.begun), resultOf(err))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dial = nil
	if c != nil {
		d.conn = &conn{Conn: c}
		l.conn, l.addr = d.conn, remoteAddr(d.conn)
	}
	d.err = err
	close(d.done)
}

// handshake dials until it works, is not refused any more, or takes too long.
func (l *link) handshake(d *dial) {
	ctx, cancel := context.WithTimeout(l.dialer.ctx, l.dialer.cfg.limits.DialTimeout)
	defer cancel()
	wait := firstRedial
	var refusal error
	for {
		c, err := l.dialOnce(ctx)
		if err == nil {
			l.dialled(d, c, nil)
			return
		}
		if refused(err) {
			refusal = err
			select {
			case <-time.After(wait/2 + rand.N(wait)): // others may have been refused with us
				wait *= 2
				continue
			case <-ctx.Done():
			}
		}
		if refusal != nil && ctx.Err() != nil {
			err = refusal // says more than that the time was up
		}
		l.dialled(d, nil, l.failed(err))
		return
	}
}

func (l *link) dialOnce(ctx context.Context) (*quic.Conn, error) {
	addrs, err := l.place.addresses(ctx)
	if err != nil {
		return nil, err
	}
	var errs error
	for _, addr := range addrs {
		to, err := quicMultiaddr(addr)
		if err != nil {
			return nil, err
		}
		always := func(*quic.Conn, uint64) bool { return true } // a reply is at most 1 MiB
		release, err := l.dialer.handshakes.lock(ctx, addr)
		if err != nil {
			return nil, errors.Join(errs, err)
		}
		if l.dialer.inBackoffAt(addr) {
			release()
			return nil, ErrBackoff // nor is it dialled at another address of its name
		}
		c, err := l.dialer.cfg.quic.DialQUIC(ctx, to, l.dialer.cfg.clientTLS(l.place.Endpoint), always)
		release()
		if err == nil {
			return c, nil
		}
		if unwanted, ok := errors.AsType[*certificateError](err); ok {
			err = unwanted // without QUIC's words about it
		}
		errs = errors.Join(errs, err)
	}
	return nil, errs
}

// refused reports whether a handshake failed because the node takes one at a
// time.
func refused(err error) bool {
	t, ok := errors.AsType[*quic.TransportError](err)
	return ok && t.Remote && t.ErrorCode == quic.ConnectionRefused
}
