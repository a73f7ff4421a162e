package dialer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// link is what the pool keeps of an endpoint: its one connection, and when it may
// be asked again.
type link struct {
	dialer *Dialer
	place  place
	users  int // guarded by dialer.mu
	idle   *time.Timer

	streams chan struct{} // one token for each stream in use
	lookups chan struct{} // one token: a miss keeps the node busy

	mu           sync.Mutex
	conn         *conn
	dial         *dial          // the handshake under way
	addr         netip.AddrPort // where the last handshake led to
	dialAgain    time.Time      // not before, as it was dialled too often
	backoffUntil time.Time
	backoffBegan time.Time     // the last one
	twice        bool          // it did not answer twice within one backoff
	late         int           // questions to which the answer may still come
	backedOff    chan struct{} // closed when a backoff begins, and made anew
}

// conn is a connection with the streams that use it. It is closed with the last
// of them once the link has no more use for it: closing it on a reply under way
// could crash who sends that.
type conn struct {
	*quic.Conn
	streams  int  // and holds; guarded by link.mu
	holds    int  // by whom it is kept in use though a reply is overdue; guarded by link.mu
	retired  bool // guarded by link.mu
	replaced bool // the node was started again; guarded by link.mu

	doubt bool   // it was silent when heard packets had come; guarded by link.mu
	heard uint64 // guarded by link.mu
}

// received counts the packets that have come on the connection. They come also
// from a node that answers nothing, as long as its QUIC lives.
func (c *conn) received() uint64 { return c.ConnectionStats().PacketsReceived }

// doubted reports whether nothing came since it was doubted; link.mu is held.
func (c *conn) doubted() bool { return c.doubt && c.received() == c.heard }

func newLink(d *Dialer, p place) *link {
	l := &link{
		dialer:    d,
		place:     p,
		streams:   make(chan struct{}, d.cfg.limits.MaxStreams),
		lookups:   make(chan struct{}, 1),
		backedOff: make(chan struct{}),
	}
	l.idle = time.AfterFunc(d.cfg.limits.Idle, func() { d.drop(l) })
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

// doubt has the node dialled anew beside a connection on which nothing has come
// since so many packets.
func (l *link) doubt(c *conn, heard uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.doubt, c.heard = true, heard
}

// hold adds a stream to those that use a connection; leaveConn ends it.
func (l *link) hold(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.streams++
}

// current returns the connection that is in use, or nil.
func (l *link) current() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

func (l *link) backoffEnd() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backoffUntil
}

// ready returns what is closed when the next backoff begins, or ErrBackoff.
func (l *link) ready() (backedOff <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.backoffUntil) {
		return nil, ErrBackoff
	}
	return l.backedOff, nil
}

// abandon takes a connection out of use that failed.
func (l *link) abandon(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retire(c)
}

// overdue leaves a node alone that has not answered in time, and takes the
// connection out of use unless somebody holds it. over is called when the reply has
// come at last, or never will.
func (l *link) overdue(c *conn) (over func()) {
	l.mu.Lock()
	l.late++
	if c.holds == 0 {
		l.retire(c)
	}
	l.mu.Unlock()
	l.dialer.backOff(remoteAddr(c))
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.late--
	}
}

// backOff leaves the endpoint alone for a while if it is at an address, also those
// who wait for their turn.
func (l *link) backOff(addr netip.AddrPort, backoff time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addr != addr {
		return
	}
	now := time.Now()
	l.twice = now.Sub(l.backoffBegan) < backoff
	l.backoffBegan, l.backoffUntil = now, now.Add(backoff)
	close(l.backedOff)
	l.backedOff = make(chan struct{})
}

// forgive ends the backoff of an endpoint that is at an address, see
// Dialer.forgive.
func (l *link) forgive(addr netip.AddrPort, restarted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addr != addr || l.late > 0 && !restarted {
		return
	}
	if restarted {
		l.twice, l.backoffBegan = false, time.Time{}
	}
	if !l.twice {
		l.backoffUntil = time.Time{}
	}
}

// inBackoffAt reports whether the endpoint is at an address and is left alone.
func (l *link) inBackoffAt(addr netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr == addr && time.Now().Before(l.backoffUntil)
}

type outcome struct {
	frame framing.Frame
	err   error
}

// do sends one frame on a stream of its own and returns the reply, if the type
// has one. The stream outlives a caller that gives up.
func (l *link) do(ctx context.Context, t wire.Type, frame []byte) (framing.Frame, error) {
	tokens := []chan struct{}{l.streams}
	if t == wire.TypeFindValue {
		tokens = []chan struct{}{l.lookups, l.streams} // who waits for a lookup holds no stream
	}
	release, err := l.acquire(ctx, tokens...)
	if err != nil {
		return framing.Frame{}, err
	}
	c, err := l.connect(ctx, false)
	if err != nil {
		release()
		return framing.Frame{}, err
	}
	return l.ask(ctx, c, t, frame, l.overdue, release)
}

// ask sends one frame on a stream of its own, for which the connection is held
// already. release is called once the stream has no use for what it took.
func (l *link) ask(ctx context.Context, c *conn, t wire.Type, frame []byte, overdue func(*conn) (over func()), release func()) (framing.Frame, error) {
	done := make(chan outcome, 1)
	err := l.dialer.spawn(l, func() {
		defer release()
		defer l.leaveConn(c)
		l.run(c, t, frame, overdue, done)
		if _, asks := t.Reply(); !asks {
			release()
			l.linger()
		}
	})
	if err != nil {
		l.leaveConn(c)
		release()
		return framing.Frame{}, err
	}
	select {
	case o := <-done:
		return o.frame, o.err
	case <-ctx.Done():
		return framing.Frame{}, fmt.Errorf("%w: %w", proto.ErrUnanswered, context.Cause(ctx))
	}
}

// linger keeps a connection for the frame that was just written to it: nothing
// tells when that has arrived, and closing would overtake it.
func (l *link) linger() {
	select {
	case <-time.After(sendGrace):
	case <-l.dialer.ctx.Done():
	}
}

// acquire takes a token of each channel, unless the endpoint is in backoff.
func (l *link) acquire(ctx context.Context, from ...chan struct{}) (release func(), err error) {
	held := 0
	giveBack := sync.OnceFunc(func() {
		for _, c := range from[:held] {
			<-c
		}
	})
	defer func() {
		if err != nil {
			giveBack()
		}
	}()
	for _, c := range from {
		backedOff, err := l.ready()
		if err != nil {
			return nil, err
		}
		select {
		case c <- struct{}{}:
			held++
		case <-backedOff:
			return nil, ErrBackoff
		case <-ctx.Done():
			return nil, gaveUp(ctx)
		}
	}
	if ctx.Err() != nil {
		return nil, gaveUp(ctx)
	}
	if _, err := l.ready(); err != nil {
		return nil, err // since a moment ago
	}
	return giveBack, nil
}

func gaveUp(ctx context.Context) error {
	return fmt.Errorf("%w: %w", proto.ErrUnreachable, context.Cause(ctx))
}

// run is the life of a stream: one Write, the reply, and only then the end of
// both directions. Until the reply has come nothing is cancelled, as that
// crashes a gateway; a stream whose reply never comes goes with its connection.
// Where the reply is late, overdue is called, if it is set.
func (l *link) run(c *conn, t wire.Type, frame []byte, overdue func(*conn) (over func()), done chan<- outcome) {
	stop := context.AfterFunc(l.dialer.ctx, func() { c.CloseWithError(0, "") })
	defer stop()
	limits := &l.dialer.cfg.limits
	fail := func(err error) { done <- outcome{err: l.failedOn(c, err)} }
	broken := func(err error) {
		l.abandon(c)
		fail(err)
	}
	ctx, cancel := context.WithTimeout(l.dialer.ctx, limits.ReplyTimeout)
	defer cancel()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		broken(err)
		return
	}
	heard, sent := c.received(), time.Now()
	s.SetWriteDeadline(sent.Add(limits.ReplyTimeout))
	if _, err := s.Write(frame); err != nil {
		broken(err)
		return
	}
	if _, asks := t.Reply(); !asks {
		Stream{s}.Close()
		done <- outcome{}
		return
	}
	in := framing.NewReader(s)
	s.SetReadDeadline(sent.Add(min(limits.Silence, limits.ReplyTimeout)))
	f, err := in.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if c.received() == heard {
			l.doubt(c, heard)
		}
		s.SetReadDeadline(sent.Add(limits.ReplyTimeout))
		f, err = in.Next()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if overdue != nil {
			defer overdue(c)()
		}
		fail(fmt.Errorf("%w within %v", ErrNoReply, limits.ReplyTimeout))
		s.SetReadDeadline(time.Now().Add(limits.LateReply))
		if _, err := in.Next(); err != nil {
			l.abandon(c)
			return
		}
		Stream{s}.Close()
		return
	}
	if err != nil {
		broken(err)
		return
	}
	Stream{s}.Close()
	done <- outcome{frame: f} // the reader is not used again, so the frame keeps its memory
}

// failedOn is failed for what was asked on a connection.
func (l *link) failedOn(c *conn, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.replaced {
		return ErrRestarted
	}
	return l.failed(err)
}

// failed returns the error of what could not be done: that the dialer is
// closed, or that the endpoint was not reached or is somebody else's.
func (l *link) failed(err error) error {
	if l.dialer.ctx.Err() != nil {
		return proto.ErrClosed
	}
	if errors.Is(err, identity.ErrCertificate) {
		return err
	}
	return fmt.Errorf("%w: %w", proto.ErrUnreachable, err)
}
