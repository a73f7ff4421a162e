package peerhost

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
)

// MaculaListeners returns what listens for ALPN "macula", once for every UDP port where h listens for libp2p.
// Close the listeners when h is about to be closed and not before: quicreuse stops accepting on the whole port, libp2p
// included, when a connection that was shaking hands for a listener finds it gone.
func (h *Host) MaculaListeners(tlsConf *tls.Config) (all []func() (gateway.Listener, error)) {
	accepted := new(atomic.Uint64)
	for _, addr := range h.Network().ListenAddresses() {
		if _, ok := quicaddr.AddrPort(addr); !ok {
			continue
		}
		all = append(all, func() (gateway.Listener, error) {
			ln, err := h.QUIC.ListenQUIC(addr, tlsConf, allowWindowIncrease)
			if err != nil {
				return nil, fmt.Errorf("listen for ALPN %q on %s (one gateway a host: is another one running?): %w", dialer.ALPN, addr, err)
			}
			return keptListener{maculaListener{ln, accepted}, &h.macula}, nil
		})
	}
	return all
}

// maculaListener accepts connections for ALPN "macula" and settles each in the resource manager.
type maculaListener struct {
	quicreuse.Listener
	accepted *atomic.Uint64 // by all listeners of the host
}

// Accept returns the next connection that the resource manager has room for.
func (l maculaListener) Accept(ctx context.Context) (*quic.Conn, error) {
	for {
		conn, err := l.Listener.Accept(ctx)
		if err != nil {
			return nil, err
		}
		if err := settle(conn, l.accepted.Add(1)); err != nil {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnResourceLimitExceeded), "")
			continue
		}
		return conn, nil
	}
}

// settle takes a connection out of the resource manager's transient scope, which has room for a few dozen handshakes
// and would else fill up with Erlang nodes until no libp2p peer gets in.
// The way out is to name the peer; an Erlang node has proved no identity, so each connection counts as a peer of its
// own: serial tells apart those from one UDP port.
func settle(conn *quic.Conn, serial uint64) error {
	scope, err := network.UnwrapConnManagementScope(conn.Context())
	if err != nil {
		return nil // not counted
	}
	return scope.SetPeer(peer.ID(fmt.Sprintf("%s/%d", dialer.ALPN, serial)))
}

// allowWindowIncrease lets quic-go buffer delta more bytes for a connection if the resource manager has the memory.
func allowWindowIncrease(conn *quic.Conn, delta uint64) bool {
	scope, err := network.UnwrapConnManagementScope(conn.Context())
	if err != nil {
		return true // not counted: nobody to ask
	}
	return scope.ReserveMemory(int(delta), network.ReservationPriorityMedium) == nil
}
