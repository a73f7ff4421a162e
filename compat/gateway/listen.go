package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/internal/conns"
)

// ServerTLS returns the TLS configuration of a gateway, which shows the
// certificate and, like an Erlang node's listener in either mode, asks for none:
// a check that anyone can leave out would keep nobody away, and turn away those
// whose certificate is made for servers alone. Who connects becomes a contact
// only once the dialer has reached it, and that verifies.
func ServerTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{dialer.ALPN},
		MinVersion:   tls.VersionTLS13,
	}
}

// Listener hands out QUIC connections whose ALPN is "macula": a *quic.Listener,
// or a quicreuse.Listener on the port of a libp2p host, in whose resource manager they
// count then.
type Listener interface {
	Accept(ctx context.Context) (*quic.Conn, error)
	Addr() net.Addr
	Close() error
}

// Listen serves the connections of the listener that open returns, and fails where
// open does. The gateway closes the listener with itself; where it ends before that,
// open is called again for another one, after a pause of 1 s, which grows to 30 s
// while that does not help. It returns at once; after Close it fails with
// proto.ErrClosed.
func (g *Gateway) Listen(open func() (Listener, error)) error {
	if open == nil {
		return errors.New("gateway: nothing to listen with")
	}
	_, err := g.bind(func() (bound, error) {
		ln, err := open()
		return bound{Listener: ln}, err
	})
	return err
}

// ListenOn opens a UDP port of the gateway's own, such as "0.0.0.0:9443", and
// serves it, as Listen does. It is how a gateway is put beside a host that someone
// else built. It returns the address, whose port is a free one where 0 was asked for.
// SelfSign makes a certificate.
func (g *Gateway) ListenOn(address string, cert tls.Certificate) (netip.AddrPort, error) {
	at, err := g.bind(func() (bound, error) {
		b, err := listenOn(address, cert, g.conns)
		if err != nil {
			return bound{}, fmt.Errorf("gateway: listen on UDP %s: %w", address, err)
		}
		address = b.Addr().String() // with its port, should it be opened again
		return b, nil
	})
	if err != nil {
		return netip.AddrPort{}, err
	}
	local := at.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), nil
}

// handshakeIdle is for how long nothing comes of a handshake that is given up; one takes
// twice that at most.
const handshakeIdle = 3 * time.Second

// port is a UDP port. It is closed after the connections on it, which else are
// cut off without a word.
type port struct {
	*quic.Transport
	udp *net.UDPConn
}

// Close frees the port.
func (p *port) Close() error { return errors.Join(p.Transport.Close(), p.udp.Close()) }

func listenOn(address string, cert tls.Certificate, manager *conns.Manager) (bound, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return bound{}, err
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		return bound{}, err
	}
	p := &port{udp: udp, Transport: &quic.Transport{
		Conn:                udp,
		VerifySourceAddress: manager.VerifySourceAddress,
		ConnContext:         manager.ConnContext,
	}}
	ln, err := p.Listen(ServerTLS(cert), &quic.Config{
		MaxIncomingStreams:    256,
		MaxIncomingUniStreams: -1, // an Erlang node opens none
		KeepAlivePeriod:       20 * time.Second,
		HandshakeIdleTimeout:  handshakeIdle,
		MaxIdleTimeout:        60 * time.Second,
	})
	if err != nil {
		return bound{}, errors.Join(err, p.Close())
	}
	return bound{ln, p}, nil
}
