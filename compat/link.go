package compat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// link is what is kept of an endpoint: its one connection, and when it may be
// asked again.
type link struct {
	dialer   *Dialer
	endpoint Endpoint
	users    int // guarded by dialer.mu
	idle     *time.Timer

	streams chan struct{} // one token for each stream in use
	lookups chan struct{} // one token: a miss keeps the node busy

	mu      sync.Mutex
	conn    *conn
	dial    *dial // the handshake under way
	resting time.Time
}

// conn is a connection with the streams that use it. It is closed with the last
// of them once the link has no more use for it: closing it on a reply under way
// could crash who sends that.
type conn struct {
	*quic.Conn
	streams int  // guarded by link.mu
	retired bool // guarded by link.mu
}

// dial is a handshake, which goes on when those who wait for it do not: an
// Erlang node has room for one, and a broken one holds it.
type dial struct {
	done chan struct{}
	err  error
}

func newLink(d *Dialer, e Endpoint) *link {
	l := &link{
		dialer:   d,
		endpoint: e,
		streams:  make(chan struct{}, maxStreams),
		lookups:  make(chan struct{}, 1),
	}
	l.idle = time.AfterFunc(linkIdle, func() { d.drop(l) })
	return l
}

// close retires the connection of a link that nobody uses any more.
func (l *link) close() {
	l.idle.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retire(l.conn)
}

// retire takes a connection out of use; l.mu is held.
func (l *link) retire(c *conn) {
	if c == nil {
		return
	}
	if l.conn == c {
		l.conn = nil
	}
	c.retired = true
	if c.streams == 0 {
		c.CloseWithError(0, "")
	}
}

// leaveConn ends a stream's use of its connection.
func (l *link) leaveConn(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.streams--; c.retired {
		l.retire(c)
	}
}

func (l *link) restUntil() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resting
}

// abandon takes a connection out of use that failed or kept silent, and leaves
// the endpoint alone for a while.
func (l *link) abandon(c *conn, rest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retire(c)
	if rest > 0 {
		l.resting = time.Now().Add(rest)
	}
}

type outcome struct {
	frame wire.Frame
	err   error
}

// do sends one frame on a stream of its own and returns the reply, if the type
// has one. The stream outlives a caller that gives up.
func (l *link) do(ctx context.Context, t wire.Type, frame []byte) (wire.Frame, error) {
	if time.Now().Before(l.restUntil()) {
		return wire.Frame{}, ErrResting
	}
	tokens := []chan struct{}{l.streams}
	if t == wire.TypeFindValue {
		tokens = append(tokens, l.lookups)
	}
	release, err := acquire(ctx, tokens...)
	if err != nil {
		return wire.Frame{}, err
	}
	c, err := l.connect(ctx)
	if err != nil {
		release()
		return wire.Frame{}, err
	}
	done := make(chan outcome, 1)
	err = l.dialer.spawn(l, func() {
		defer release()
		defer l.leaveConn(c)
		l.run(c, t, frame, done)
	})
	if err != nil {
		l.leaveConn(c)
		release()
		return wire.Frame{}, err
	}
	select {
	case o := <-done:
		return o.frame, o.err
	case <-ctx.Done():
		return wire.Frame{}, gaveUp(ctx)
	}
}

// acquire takes a token of each channel.
func acquire(ctx context.Context, from ...chan struct{}) (release func(), err error) {
	held := 0
	release = func() {
		for _, c := range from[:held] {
			<-c
		}
	}
	for _, c := range from {
		select {
		case c <- struct{}{}:
			held++
		case <-ctx.Done():
			release()
			return nil, gaveUp(ctx)
		}
	}
	return release, nil
}

func gaveUp(ctx context.Context) error {
	return fmt.Errorf("%w: %w", routing.ErrUnreachable, context.Cause(ctx))
}

// run is the life of a stream: one Write, the reply, and only then the end of
// both directions. Until the reply has come nothing is cancelled, as that
// crashes a gateway; a stream whose reply never comes goes with its connection.
func (l *link) run(c *conn, t wire.Type, frame []byte, done chan<- outcome) {
	stop := context.AfterFunc(l.dialer.ctx, func() { c.CloseWithError(0, "") })
	defer stop()
	timeout := l.dialer.cfg.replyTimeout
	fail := func(err error) {
		done <- outcome{err: fmt.Errorf("%w: %w", routing.ErrUnreachable, err)}
	}
	ctx, cancel := context.WithTimeout(l.dialer.ctx, timeout)
	defer cancel()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		l.abandon(c, 0)
		fail(err)
		return
	}
	s.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := s.Write(frame); err != nil {
		l.abandon(c, 0)
		fail(err)
		return
	}
	if !maculadht.HasReply(t) {
		stream{s}.Close()
		done <- outcome{}
		return
	}
	in := wire.NewReader(s)
	s.SetReadDeadline(time.Now().Add(timeout))
	f, err := in.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.abandon(c, l.dialer.cfg.rest)
		fail(fmt.Errorf("no reply within %v", timeout))
		s.SetReadDeadline(time.Now().Add(abandonAfter))
		if _, err := in.Next(); err == nil {
			stream{s}.Close()
		}
		return
	}
	if err != nil {
		l.abandon(c, 0)
		fail(err)
		return
	}
	stream{s}.Close()
	done <- outcome{frame: f} // the reader is not used again, so the frame keeps its memory
}

// connect returns the connection, dialling it where there is none, and counts
// its caller's stream. All who wait share one handshake.
func (l *link) connect(ctx context.Context) (*conn, error) {
	for {
		l.mu.Lock()
		if c := l.conn; c != nil && c.Context().Err() == nil {
			c.streams++
			l.mu.Unlock()
			return c, nil
		}
		l.retire(l.conn)
		d, begin := l.dial, l.dial == nil
		if begin {
			d = &dial{done: make(chan struct{})}
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
			if d.err != nil {
				return nil, d.err
			}
		case <-ctx.Done():
			return nil, gaveUp(ctx)
		}
	}
}

// dialled ends a handshake.
func (l *link) dialled(d *dial, c *quic.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dial = nil
	if c != nil {
		l.conn = &conn{Conn: c}
	}
	d.err = err
	close(d.done)
}

// handshake dials until it works, is not refused any more, or takes too long.
func (l *link) handshake(d *dial) {
	ctx, cancel := context.WithTimeout(l.dialer.ctx, l.dialer.cfg.dialTimeout)
	defer cancel()
	wait := firstRedial
	for {
		c, err := l.dialOnce(ctx)
		if err == nil {
			l.dialled(d, c, nil)
			return
		}
		if refused(err) {
			select {
			case <-time.After(wait):
				wait *= 2
				continue
			case <-ctx.Done():
			}
		}
		l.dialled(d, nil, fmt.Errorf("%w: %w", routing.ErrUnreachable, err))
		return
	}
}

func (l *link) dialOnce(ctx context.Context) (*quic.Conn, error) {
	addrs, err := l.endpoint.resolve(ctx)
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
		c, err := l.dialer.cfg.quic.DialQUIC(ctx, to, clientTLS(l.endpoint.Host), always)
		if err == nil {
			return c, nil
		}
		errs = errors.Join(errs, err)
	}
	return nil, errs
}
