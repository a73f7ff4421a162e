package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/dials"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Waits that are not for the caller to set.
const (
	closeGrace = 2 * time.Second        // for replies under way when the dialer closes
	sendGrace  = 200 * time.Millisecond // for what has no reply to arrive before its connection is closed
)

// ErrNoReply: the endpoint took a question and has not answered in time. It is
// left alone from then on. It comes with a proto.ErrUnreachable.
var ErrNoReply = errors.New("no reply")

// ErrBackoff: the endpoint did not answer in time a short while ago and is left
// alone, or it was dialled as often as it may be (pace.LimitError). It is a
// proto.ErrUnreachable too.
var ErrBackoff = proto.ErrResting

// ErrRestarted: the node takes a new connection while nothing at all comes on the
// one that there was: it was started again. It is a proto.ErrUnreachable too.
var ErrRestarted = fmt.Errorf("%w: it was started again", proto.ErrUnreachable)

// Dialer asks Erlang nodes. It keeps one connection to an endpoint and uses it
// in the one way that a node survives: one handshake at a time, few of them,
// retried when it is refused; one frame a stream, in one Write; a stream is closed only after
// its reply has come, whether or not the caller still waits; no message that
// harms. It implements routing.Network for contacts with an endpoint and is
// safe for concurrent use.
type Dialer struct {
	cfg   config
	owned *quicreuse.ConnManager // made here, so closed here

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	close  func() error

	pacer   *pace.Pacer
	dropped *logs.Summary

	mu     sync.Mutex
	closed bool
	pool   map[place]*link
}

// New returns a dialer. Close it.
func New(opts ...Option) (*Dialer, error) {
	d := &Dialer{
		cfg: config{
			limits:   DefaultLimits(),
			resolver: net.DefaultResolver,
			tracer:   noTracer{},
			log:      logs.Logger("dialer"),
		},
		pool: make(map[place]*link),
	}
	d.close = sync.OnceValue(d.shutdown)
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("dialer: a nil option")
		}
		if err := opt(&d.cfg); err != nil {
			return nil, fmt.Errorf("dialer: %w", err)
		}
	}
	if d.cfg.strangers == nil {
		d.cfg.strangers = dials.New()
	}
	if d.cfg.quic == nil {
		cm, err := quicreuse.NewConnManager(quic.StatelessResetKey{}, quic.TokenGeneratorKey{})
		if err != nil {
			return nil, fmt.Errorf("dialer: %w", err)
		}
		d.cfg.quic, d.owned = cm, cm
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.pacer = pace.New(d.cfg.limits.MaxDials, d.cfg.limits.DialWindow, d.cfg.limits.Stagger)
	d.dropped = logs.NewSummary(d.cfg.log, time.Minute)
	return d, nil
}

// Holds reports whether the dialer holds the node at an endpoint to the Pin that is
// in it: one that WithPins was not given would be passed over in silence. It
// does so with an endpoint that has none.
func (d *Dialer) Holds(e identity.PinnedEndpoint) bool { return d.cfg.accepts.Holds(e) }

// MayDialBeside reports whether another protocol, such as libp2p's, may dial an
// address, and counts the dial where it may. Only an address that this dialer has
// dialled too within the hour is refused: when Limits.MaxDials are made of it within
// Limits.DialWindow, half of them by others.
func (d *Dialer) MayDialBeside(addr netip.AddrPort) bool { return d.pacer.Beside(addr) }

// Close waits a moment for the replies that are under way, as closing on them
// could crash who sends them, then closes all connections. What still waits
// fails with proto.ErrClosed. Further calls return what the first did.
func (d *Dialer) Close() error { return d.close() }

func (d *Dialer) shutdown() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	answered := make(chan struct{})
	go func() { d.tasks.Wait(); close(answered) }()
	select {
	case <-answered:
	case <-time.After(closeGrace):
	}
	d.cancel()
	<-answered
	d.pacer.Close()
	d.dropped.Close()
	d.mu.Lock()
	for _, l := range d.pool {
		l.close()
	}
	d.mu.Unlock()
	if d.owned != nil {
		return d.owned.Close()
	}
	return nil
}

var _ routing.Network = (*Dialer)(nil)

// Send sends a message that has no reply and returns once it has left. Errors
// are safety.ErrHarmful, safety.ErrTooLargeForPeer, identity.ErrCertificate,
// proto.ErrUnreachable, proto.ErrInvalidRequest and proto.ErrClosed.
func (d *Dialer) Send(ctx context.Context, to routing.Contact, m wire.Message) error {
	start := time.Now()
	_, err := d.exchange(ctx, to, m, false)
	d.cfg.tracer.RequestCompleted(m.Type(), time.Since(start), resultOf(err))
	return err
}

// Query sends a request and returns its reply. Errors are those of Send, and
// proto.ErrRemote where the reply is one.
func (d *Dialer) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	start := time.Now()
	reply, err := d.query(ctx, to, m)
	d.cfg.tracer.RequestCompleted(m.Type(), time.Since(start), resultOf(err))
	return reply, err
}

func (d *Dialer) query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	f, err := d.exchange(ctx, to, m, true)
	if err != nil {
		return nil, err
	}
	return proto.ReadReply(f, m)
}

func (d *Dialer) exchange(ctx context.Context, to routing.Contact, m wire.Message, asks bool) (framing.Frame, error) {
	if err := mayBeSent(m, asks); err != nil {
		return framing.Frame{}, err
	}
	p, err := placeOf(to)
	if err != nil {
		return framing.Frame{}, fmt.Errorf("%w: %w", proto.ErrUnreachable, err)
	}
	frame, err := safety.Encode(m, d.cfg.forceFindNode)
	if err != nil {
		return framing.Frame{}, err
	}
	l, err := d.link(p)
	if err != nil {
		return framing.Frame{}, err
	}
	defer d.leave(l)
	f, err := l.do(ctx, m.Type(), frame)
	if err != nil {
		return framing.Frame{}, fmt.Errorf("%s to %s: %w", m.Type(), p, err)
	}
	return f, nil
}

// mayBeSent refuses a question that nobody would wait for, and to wait for what is
// none.
func mayBeSent(m wire.Message, asks bool) error {
	switch _, has := m.Type().Reply(); {
	case has && !asks:
		return fmt.Errorf("%w: %s has a reply, use Query", proto.ErrInvalidRequest, m.Type())
	case asks && !has:
		return fmt.Errorf("%w: %s has no reply, use Send", proto.ErrInvalidRequest, m.Type())
	}
	return nil
}

func (d *Dialer) link(p place) (*link, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, proto.ErrClosed
	}
	l := d.pool[p]
	if l == nil {
		if len(d.pool) >= d.cfg.limits.MaxEndpoints && !d.makeRoom() {
			return nil, fmt.Errorf("%w: %s: %d other endpoints are being asked", proto.ErrUnreachable, p, len(d.pool))
		}
		l = newLink(d, p)
		d.pool[p] = l
	}
	l.users++
	return l, nil
}

// makeRoom forgets a link that nobody uses, one in backoff only where there is no
// other; whoever has us verify one endpoint after the other does not have us keep
// a connection to each. d.mu is held.
func (d *Dialer) makeRoom() bool {
	var unused *link
	for _, l := range d.pool {
		if l.users > 0 {
			continue
		}
		unused = l
		if _, err := l.ready(); err == nil {
			break
		}
	}
	if unused == nil {
		return false
	}
	delete(d.pool, unused.place)
	unused.close()
	return true
}

// leave gives a link up. The last user leaves it to the idle timer, which
// closes the connection and, after a time-out, remembers the backoff until its
// end.
func (d *Dialer) leave(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.users--; l.users == 0 && !d.closed {
		l.idle.Reset(max(d.cfg.limits.Idle, time.Until(l.backoffEnd())))
	}
}

// backOff leaves the node at an address alone for a while, by whatever endpoint it
// is known.
func (d *Dialer) backOff(addr netip.AddrPort) {
	backoff := d.cfg.limits.Backoff
	if backoff == 0 {
		return
	}
	d.cfg.tracer.BackoffStarted(backoff)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.pool {
		l.backOff(addr, backoff)
	}
}

// forgive ends the backoff of the node at an address, which has answered a session
// meanwhile. One that is still busy with a question, or did not answer twice, is
// left alone all the same, unless it was started again: it may well be our
// questions that keep it busy.
func (d *Dialer) forgive(addr netip.AddrPort, restarted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.pool {
		l.forgive(addr, restarted)
	}
}

// inBackoffAt reports whether the node at an address is left alone.
func (d *Dialer) inBackoffAt(addr netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.pool {
		if l.inBackoffAt(addr) {
			return true
		}
	}
	return false
}

// drop forgets a link that nobody uses.
func (d *Dialer) drop(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.users == 0 && d.pool[l.place] == l {
		delete(d.pool, l.place)
		l.close()
	}
}

// spawn runs f in a goroutine that holds the link, unless the dialer is closing.
func (d *Dialer) spawn(l *link, f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return proto.ErrClosed
	}
	l.users++
	d.tasks.Go(func() {
		defer d.leave(l)
		f()
	})
	return nil
}

// BackoffEnd returns until when the node at an endpoint is left alone, as it did
// not answer in time or was dialled as often as it may be; a time that has passed
// where it is not.
func (d *Dialer) BackoffEnd(e endpoints.Endpoint) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.pool[place{Endpoint: e}]
	if l == nil {
		return time.Time{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.backoffUntil
	if l.conn == nil && l.dialAgain.After(end) {
		end = l.dialAgain
	}
	return end
}
