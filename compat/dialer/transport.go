package dialer

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"

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

// Stream is a QUIC stream as the serving loop of package maculadht takes it.
type Stream struct{ *quic.Stream }

// Close ends both directions in order.
func (s Stream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}

// Reset ends both directions at once.
func (s Stream) Reset(code maculadht.ResetCode) {
	s.CancelRead(quic.StreamErrorCode(code))
	s.CancelWrite(quic.StreamErrorCode(code))
}

// IsPublic reports whether an address is one of the public network.
func IsPublic(ip netip.Addr) bool {
	addr, err := manet.FromIP(ip.AsSlice())
	return err == nil && manet.IsPublicAddr(addr)
}

// Source returns to what the connections with a node at an address are counted:
// whoever has one IPv6 address has the /64 around it.
func Source(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().Addr()
	}
	return ip
}
