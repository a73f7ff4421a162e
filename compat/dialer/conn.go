package dialer

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// ErrMoved: a Conn is no longer the connection on which its node is asked, as
// something failed on it. It is a proto.ErrUnreachable too.
var ErrMoved = fmt.Errorf("%w: the connection was made anew meanwhile", proto.ErrUnreachable)

// Conn is a hold on the one connection that a Dialer keeps to an endpoint: it is
// not closed for idleness, nor as a reply on it is late. Release it; what it tells
// of the node stays. It is a routing.Network for the node that it leads to, and
// safe for concurrent use.
type Conn struct {
	link    *link
	conn    *conn
	release func()
}

var _ routing.Network = (*Conn)(nil)

// Acquire connects to the node at an endpoint, unless there is a connection, and
// holds that until Release; also one that is left alone by the Dialer's other
// questions, as it did not answer them. Nothing is asked of the node. Errors are
// pace.LimitError, identity.ErrCertificate, proto.ErrUnreachable and
// proto.ErrClosed.
func (d *Dialer) Acquire(ctx context.Context, e endpoints.Endpoint) (*Conn, error) {
	l, err := d.link(place{Endpoint: e})
	if err != nil {
		return nil, err
	}
	c, err := l.connect(ctx, true)
	if err != nil {
		d.leave(l)
		return nil, fmt.Errorf("connect to %s: %w", e, err)
	}
	l.mu.Lock()
	c.holds++
	l.mu.Unlock()
	return &Conn{link: l, conn: c, release: sync.OnceFunc(func() {
		l.mu.Lock()
		c.holds--
		l.mu.Unlock()
		l.leaveConn(c)
		d.leave(l)
	})}, nil
}

// Query sends a request over this very connection and returns its reply, whether or
// not the Dialer leaves the node alone. One that is late leaves it in use, and
// starts no backoff. Errors are those of Dialer.Query, ErrMoved and ErrRestarted.
func (c *Conn) Query(ctx context.Context, _ routing.Contact, m wire.Message) (wire.Message, error) {
	start := time.Now()
	f, err := c.exchange(ctx, m, true)
	var reply wire.Message
	if err == nil {
		c.link.dialer.forgive(c.RemoteAddr(), false)
		reply, err = proto.ReadReply(f, m)
	}
	c.link.dialer.cfg.tracer.RequestCompleted(m.Type(), time.Since(start), resultOf(err))
	return reply, err
}

// Send sends a message that has no reply over this very connection. Errors are
// those of Dialer.Send, ErrMoved and ErrRestarted.
func (c *Conn) Send(ctx context.Context, _ routing.Contact, m wire.Message) error {
	start := time.Now()
	_, err := c.exchange(ctx, m, false)
	c.link.dialer.cfg.tracer.RequestCompleted(m.Type(), time.Since(start), resultOf(err))
	return err
}

func (c *Conn) exchange(ctx context.Context, m wire.Message, asks bool) (framing.Frame, error) {
	l, d := c.link, c.link.dialer
	if err := mayBeSent(m, asks); err != nil {
		return framing.Frame{}, err
	}
	frame, err := safety.Encode(m, d.cfg.forceFindNode)
	if err != nil {
		return framing.Frame{}, err
	}
	if err := c.Err(); err != nil {
		return framing.Frame{}, err
	}
	l.hold(c.conn)
	f, err := l.ask(ctx, c.conn, m.Type(), frame, nil, func() {})
	if err != nil {
		return framing.Frame{}, fmt.Errorf("%s to %s: %w", m.Type(), l.place, err)
	}
	return f, nil
}

// Err says why nothing is asked on the connection any more: ErrRestarted, ErrMoved,
// or a proto.ErrUnreachable with why it ended. It is nil while it is in use.
func (c *Conn) Err() error {
	current := c.Current()
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	switch {
	case c.conn.replaced:
		return ErrRestarted
	case c.conn.Context().Err() != nil:
		return fmt.Errorf("%w: %w", proto.ErrUnreachable, context.Cause(c.conn.Context()))
	case !current:
		return ErrMoved
	}
	return nil
}

// Ping asks the node for a sign of life. Where nothing at all comes of it, be it an
// acknowledgement, the node is dialled anew beside the connection: if that works
// while this one stays silent, it was started again, and the error is
// ErrRestarted. A node that merely stalls is waited for; the error is ErrNoReply
// where that was in vain, and the connection stays as it is. Other errors are
// those of Query.
func (c *Conn) Ping(ctx context.Context) error {
	l, d := c.link, c.link.dialer
	heard := c.conn.received()
	answered := make(chan error, 1)
	if err := d.spawn(l, func() {
		_, err := client.Ping(ctx, c, routing.Contact{})
		answered <- err
	}); err != nil {
		return err
	}
	silent := time.NewTimer(d.cfg.limits.Silence)
	defer silent.Stop()
	select {
	case err := <-answered:
		return err
	case <-silent.C:
	}
	if c.conn.received() == heard {
		l.doubt(c.conn, heard)
		if err := d.spawn(l, func() {
			if beside, err := l.connect(d.ctx, true); err == nil {
				l.leaveConn(beside)
			}
		}); err != nil {
			return err
		}
	}
	return <-answered
}

// Release ends the hold. Further calls do nothing.
func (c *Conn) Release() { c.release() }

// End releases the hold, and has the connection closed once nothing is under way on
// it.
func (c *Conn) End() {
	c.link.abandon(c.conn)
	c.release()
}

// Current reports whether this is the connection on which the node is asked.
func (c *Conn) Current() bool { return c.link.current() == c.conn }

// Context ends with the connection; its cause is why that ended.
func (c *Conn) Context() context.Context { return c.conn.Context() }

// RemoteAddr returns where the node is.
func (c *Conn) RemoteAddr() netip.AddrPort { return remoteAddr(c.conn) }

// LocalPort returns the UDP port from which the node was dialled.
func (c *Conn) LocalPort() uint16 {
	if udp, ok := c.conn.LocalAddr().(*net.UDPAddr); ok {
		return udp.AddrPort().Port()
	}
	return 0
}

// Certificate returns what the node showed of itself.
func (c *Conn) Certificate() *x509.Certificate { return c.conn.certificate() }

// ClientID returns the identity.ClientID of the node's certificate, empty where it has
// none.
func (c *Conn) ClientID() string { return c.conn.clientID() }

// certificate returns the leaf that the node showed.
func (c *conn) certificate() *x509.Certificate {
	if certs := c.ConnectionState().TLS.PeerCertificates; len(certs) > 0 {
		return certs[0]
	}
	return nil // not with TLS 1.3
}

func (c *conn) clientID() string {
	cert := c.certificate()
	if cert == nil {
		return ""
	}
	id, err := identity.ClientID(cert)
	if err != nil {
		return ""
	}
	return id
}

// remoteAddr returns the address at the other end of a connection.
func remoteAddr(c *conn) netip.AddrPort {
	udp, ok := c.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
