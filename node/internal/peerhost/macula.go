package peerhost

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
)

// MaculaListeners returns what listens for ALPN "macula", once for every UDP port where h listens for libp2p.
// Close the listeners when h is about to be closed and not before: quicreuse stops accepting on the whole port, libp2p
// included, when a connection that was shaking hands for a listener finds it gone.
func (h *Host) MaculaListeners(tlsConf *tls.Config) (all []func() (gateway.Listener, error)) {
	for _, addr := range h.Network().ListenAddresses() {
		if _, ok := quicaddr.AddrPort(addr); !ok {
			continue
		}
		all = append(all, func() (gateway.Listener, error) {
			ln, err := h.QUIC.ListenQUIC(addr, tlsConf, allowWindowIncrease)
			if err != nil {
				return nil, fmt.Errorf("listen for ALPN %q on %s (one gateway a host: is another one running?): %w", dialer.ALPN, addr, err)
			}
			return keptListener{maculaListener{ln, h.gater}, &h.macula}, nil
		})
	}
	return all
}

// maculaListener accepts connections for ALPN "macula", which count in the host's resource manager, and pass its gater: by
// their addresses, as an Erlang node proves no identity.
type maculaListener struct {
	quicreuse.Listener
	gater connmgr.ConnectionGater // nil: none
}

// Accept returns the next connection that is not kept away, and that there is room for.
func (l maculaListener) Accept(ctx context.Context) (*quic.Conn, error) {
	for {
		conn, err := l.Listener.Accept(ctx)
		if err != nil {
			return nil, err
		}
		if l.gater != nil && !l.gater.InterceptAccept(connAddrs{conn}) {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnGated), "connection gated")
			continue
		}
		if conns.Settle(conn) != nil {
			continue
		}
		return conn, nil
	}
}

// connAddrs are the addresses of a connection, as a gater is asked for them.
type connAddrs struct{ *quic.Conn }

// LocalMultiaddr implements network.ConnMultiaddrs.
func (c connAddrs) LocalMultiaddr() ma.Multiaddr { return multiaddrOf(c.LocalAddr()) }

// RemoteMultiaddr implements network.ConnMultiaddrs.
func (c connAddrs) RemoteMultiaddr() ma.Multiaddr { return multiaddrOf(c.RemoteAddr()) }

func multiaddrOf(addr net.Addr) ma.Multiaddr {
	of, _ := quicreuse.ToQuicMultiaddr(addr, quic.Version1) // a UDP address always has one
	return of
}

// allowWindowIncrease lets quic-go buffer delta more bytes for a connection if the resource manager has the memory.
func allowWindowIncrease(conn *quic.Conn, delta uint64) bool {
	scope, err := network.UnwrapConnManagementScope(conn.Context())
	if err != nil {
		return true // not counted: nobody to ask
	}
	return scope.ReserveMemory(int(delta), network.ReservationPriorityMedium) == nil
}
