package compat

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Reached is what a connection to an endpoint tells without a message.
type Reached struct {
	Certificate *x509.Certificate // that the node showed
	Addr        netip.AddrPort    // where it is
	LocalPort   uint16            // from where it was dialled
}

// Reach connects to the node at an endpoint, unless there is a connection, and
// returns what that tells. The connection is kept for what is asked next. Errors
// are routing.ErrUnreachable and maculadht.ErrClosed.
func (d *Dialer) Reach(ctx context.Context, endpoint string) (Reached, error) {
	e, err := parseSent(endpoint)
	if err != nil {
		return Reached{}, fmt.Errorf("%w: %w", routing.ErrUnreachable, err)
	}
	l, err := d.link(place{Endpoint: e})
	if err != nil {
		return Reached{}, err
	}
	defer d.leave(l)
	if _, err := l.awake(); err != nil {
		return Reached{}, fmt.Errorf("reach %s: %w", e, err)
	}
	c, err := l.connect(ctx)
	if err != nil {
		return Reached{}, fmt.Errorf("reach %s: %w", e, err)
	}
	defer l.leaveConn(c)
	r := Reached{Addr: remoteAddr(c)}
	if certs := c.ConnectionState().TLS.PeerCertificates; len(certs) > 0 {
		r.Certificate = certs[0]
	}
	if udp, ok := c.LocalAddr().(*net.UDPAddr); ok {
		r.LocalPort = udp.AddrPort().Port()
	}
	return r, nil
}
