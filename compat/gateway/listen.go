package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
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

// closeShutdown closes a connection as the streams on it are reset.
func closeShutdown(conn *quic.Conn) {
	conn.CloseWithError(quic.ApplicationErrorCode(proto.ResetShutdown), "shutting down")
}

// portListener listens on a UDP port of its own.
type portListener struct {
	*quic.Listener
	port *port
}

// port is a UDP port. It is closed after the connections on it, which else are
// cut off without a word.
type port struct {
	*quic.Transport
	udp *net.UDPConn
}

// Close frees the port.
func (p *port) Close() error { return errors.Join(p.Transport.Close(), p.udp.Close()) }

func listenOn(address string, cert tls.Certificate, proveAbove int) (*portListener, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	unproved := rate.NewLimiter(rate.Limit(proveAbove), proveAbove)
	p := &port{udp: udp, Transport: &quic.Transport{
		Conn:                udp,
		VerifySourceAddress: func(net.Addr) bool { return !unproved.Allow() },
	}}
	ln, err := p.Listen(ServerTLS(cert), &quic.Config{
		MaxIncomingStreams:    256,
		MaxIncomingUniStreams: -1, // an Erlang node opens none
		KeepAlivePeriod:       20 * time.Second,
		MaxIdleTimeout:        60 * time.Second,
	})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &portListener{Listener: ln, port: p}, nil
}
