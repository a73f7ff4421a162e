package dialer

import (
	"context"
	"crypto/tls"
	"net/netip"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
)

// ALPN is the application protocol that Erlang nodes speak on QUIC.
const ALPN = "macula"

// QUIC dials QUIC connections. libp2p's quicreuse.ConnManager does, from the
// UDP port that its host listens on.
type QUIC interface {
	DialQUIC(ctx context.Context, to ma.Multiaddr, tlsConf *tls.Config, allowWindowIncrease func(*quic.Conn, uint64) bool) (*quic.Conn, error)
}

// Stream is a QUIC stream as the serving loop of package server takes it.
type Stream struct{ *quic.Stream }

// Close ends both directions in order.
func (s Stream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}

// Reset ends both directions at once.
func (s Stream) Reset(code proto.ResetCode) {
	s.CancelRead(quic.StreamErrorCode(code))
	s.CancelWrite(quic.StreamErrorCode(code))
}

// IsPublic reports whether an address is one of the public network.
func IsPublic(ip netip.Addr) bool {
	addr, err := manet.FromIP(ip.AsSlice())
	return err == nil && manet.IsPublicAddr(addr)
}
