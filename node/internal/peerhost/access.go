package peerhost

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/internal/access"
)

// errRefused ends the handshake of who is kept away by his address.
var errRefused = errors.New("address is kept away by the allow or deny list")

// letIn asks the lists by the source address of each incoming connection, before its handshake and whatever its ALPN.
func letIn(lists *access.Lists, then func(context.Context, *quic.ClientInfo) (context.Context, error)) func(context.Context, *quic.ClientInfo) (context.Context, error) {
	return func(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
		if lists.Refuse(lists.CheckAddress(ipOf(client.RemoteAddr))) {
			return ctx, errRefused
		}
		return then(ctx, client)
	}
}

func ipOf(addr net.Addr) netip.Addr {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return udp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// dialledConns are the open connections of ALPN "macula" that were dialled. They prove no peer id, so the lists say by the
// address alone which are. Those that come in are the gateway's to keep to the lists.
type dialledConns struct {
	access *access.Lists

	mu   sync.Mutex
	open map[*quic.Conn]struct{}
}

// take keeps a connection that the lists let be, and closes another one.
func (d *dialledConns) take(conn *quic.Conn) bool {
	if d.access == nil {
		return true
	}
	d.mu.Lock()
	if d.open == nil {
		d.open = make(map[*quic.Conn]struct{})
	}
	d.open[conn] = struct{}{}
	context.AfterFunc(conn.Context(), func() { d.forget(conn) })
	d.mu.Unlock()
	return !d.closeRefused(conn) // now that a change of the lists finds it, too
}

func (d *dialledConns) forget(conn *quic.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, conn)
}

func (d *dialledConns) closeRefused(conn *quic.Conn) bool {
	if !d.access.Refuse(d.access.Check("", ipOf(conn.RemoteAddr()))) {
		return false
	}
	_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnGated), errRefused.Error())
	return true
}

// closeAllRefused closes those that the lists do not let be any more, and returns how many.
func (d *dialledConns) closeAllRefused() (closed int) {
	d.mu.Lock()
	conns := slices.Collect(maps.Keys(d.open))
	d.mu.Unlock()
	for _, conn := range conns {
		if d.closeRefused(conn) {
			closed++
		}
	}
	return closed
}

// keptDialer dials those alone that the lists let be dialled.
type keptDialer struct {
	dialer.QUIC
	conns *dialledConns
}

// MaculaQUIC returns what dials Erlang nodes from the host's ports.
func (h *Host) MaculaQUIC() dialer.QUIC { return keptDialer{h.QUIC, &h.dialled} }

// DialQUIC implements dialer.QUIC.
func (d keptDialer) DialQUIC(ctx context.Context, to ma.Multiaddr, tlsConf *tls.Config, allowWindowIncrease func(*quic.Conn, uint64) bool) (*quic.Conn, error) {
	if v := d.conns.access.Check("", access.AddressOf(to)); v != access.LetIn {
		return nil, fmt.Errorf("%s is not dialled: %w", to, errRefused)
	}
	conn, err := d.QUIC.DialQUIC(ctx, to, tlsConf, allowWindowIncrease)
	if err != nil {
		return nil, err
	}
	if !d.conns.take(conn) {
		return nil, fmt.Errorf("%s is not dialled: %w", to, errRefused)
	}
	return conn, nil
}

// closeIfRefused closes a libp2p connection that the lists do not let in: they may have changed after the gater was
// asked, and before those who read them again could see the connection.
func (h *Host) closeIfRefused(_ network.Network, conn network.Conn) {
	lists := h.dialled.access
	if lists.Refuse(lists.Check(conn.RemotePeer(), access.AddressOf(conn.RemoteMultiaddr()))) {
		_ = conn.CloseWithError(network.ConnGated)
	}
}

// CloseRefused closes the connections of those that the lists do not let in any more, but for those of Erlang nodes that came
// to the gateway, and returns how many.
func (h *Host) CloseRefused() int {
	lists := h.dialled.access
	closed := h.dialled.closeAllRefused()
	for _, conn := range h.Network().Conns() {
		if lists.Refuse(lists.Check(conn.RemotePeer(), access.AddressOf(conn.RemoteMultiaddr()))) {
			_ = conn.CloseWithError(network.ConnGated)
			closed++
		}
	}
	return closed
}
