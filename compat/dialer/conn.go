package dialer

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// ErrMoved: a Conn is no longer the connection on which its node is asked, as
// something failed on it. It is a proto.ErrUnreachable too.
var ErrMoved = fmt.Errorf("%w: the connection was made anew meanwhile", proto.ErrUnreachable)

// Conn is a hold on the one connection that a Dialer keeps to an endpoint: it is
// not closed for idleness. Release it; what it tells of the node stays. It is
// safe for concurrent use.
type Conn struct {
	link    *link
	conn    *conn
	release func()
}

// Acquire connects to the node at an endpoint, unless there is a connection, and
// holds that until Release. Nothing is asked of the node. Errors are ErrBackoff,
// ErrCertificate, proto.ErrUnreachable and proto.ErrClosed.
func (d *Dialer) Acquire(ctx context.Context, e wire.Endpoint) (*Conn, error) {
	l, err := d.link(place{Endpoint: e})
	if err != nil {
		return nil, err
	}
	if _, err := l.ready(); err != nil {
		d.leave(l)
		return nil, fmt.Errorf("connect to %s: %w", e, err)
	}
	c, err := l.connect(ctx)
	if err != nil {
		d.leave(l)
		return nil, fmt.Errorf("connect to %s: %w", e, err)
	}
	return &Conn{link: l, conn: c, release: sync.OnceFunc(func() {
		l.leaveConn(c)
		d.leave(l)
	})}, nil
}

// Release ends the hold. Further calls do nothing.
func (c *Conn) Release() { c.release() }

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

// ClientID returns the ClientID of the node's certificate, empty where it has
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
	id, err := ClientID(cert)
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
