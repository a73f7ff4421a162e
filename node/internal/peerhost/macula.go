package peerhost

import (
	"crypto/tls"
	"fmt"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
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
			return ln, nil
		})
	}
	return all
}

// Gater returns what says who may connect, whatever the ALPN; nil for nothing.
func (h *Host) Gater() connmgr.ConnectionGater { return h.gater }

// allowWindowIncrease lets quic-go buffer delta more bytes for a connection if the resource manager has the memory.
func allowWindowIncrease(conn *quic.Conn, delta uint64) bool {
	scope, err := network.UnwrapConnManagementScope(conn.Context())
	if err != nil {
		return true // not counted: nobody to ask
	}
	return scope.ReserveMemory(int(delta), network.ReservationPriorityMedium) == nil
}
