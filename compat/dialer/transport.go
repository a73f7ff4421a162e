package compat

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// ALPN is the application protocol that Erlang nodes speak on QUIC.
const ALPN = "macula"

// Waits and limits of the transport (docs/PROTOCOL.md, names and limits).
const (
	// StreamIdle is after how long a stream on which nothing comes is reset,
	// and a connection without streams closed.
	StreamIdle = 180 * time.Second
	// FirstPacket is how long a FIND_VALUE_REPLY may be, in bytes, on a stream
	// that never CONNECTed: an Erlang lookup takes the first packet as all.
	FirstPacket = 1100
)

// Dialect returns what Erlang nodes are served: their own frames and nothing
// more, an empty list on a miss, values byte for byte.
func Dialect() maculadht.Dialect {
	return maculadht.Dialect{
		GatewaysOnce:  true,
		FirstPacket:   FirstPacket,
		Idle:          StreamIdle,
		KeepConnected: true,
	}
}

// QUIC dials QUIC connections. libp2p's quicreuse.ConnManager does, from the
// UDP port that its host listens on.
type QUIC interface {
	DialQUIC(ctx context.Context, to ma.Multiaddr, tlsConf *tls.Config, allowWindowIncrease func(*quic.Conn, uint64) bool) (*quic.Conn, error)
}

// stream is a QUIC stream as the serving loop wants it.
type stream struct{ *quic.Stream }

// Close ends both directions in order.
func (s stream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}

// Reset ends both directions at once.
func (s stream) Reset(code maculadht.ResetCode) {
	s.CancelRead(quic.StreamErrorCode(code))
	s.CancelWrite(quic.StreamErrorCode(code))
}

// closeShutdown closes a connection as the streams on it are reset.
func closeShutdown(conn *quic.Conn) {
	conn.CloseWithError(quic.ApplicationErrorCode(maculadht.ResetShutdown), "shutting down")
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

func listenOn(address string, cert tls.Certificate) (*portListener, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	unproved := rate.NewLimiter(unprovedRate, unprovedRate)
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
