package access

import (
	"net/netip"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Gater keeps a libp2p host to the lists, in both directions.
func (l *Lists) Gater() connmgr.ConnectionGater { return gater{l} }

type gater struct{ lists *Lists }

// InterceptPeerDial implements connmgr.ConnectionGater.
func (g gater) InterceptPeerDial(p peer.ID) bool { return g.lists.CheckPeer(p) == LetIn }

// InterceptAddrDial implements connmgr.ConnectionGater.
func (g gater) InterceptAddrDial(p peer.ID, addr ma.Multiaddr) bool {
	return g.lists.Check(p, AddressOf(addr)) == LetIn
}

// InterceptAccept implements connmgr.ConnectionGater.
func (g gater) InterceptAccept(c network.ConnMultiaddrs) bool {
	return !g.lists.Refuse(g.lists.CheckAddress(AddressOf(c.RemoteMultiaddr())))
}

// InterceptSecured implements connmgr.ConnectionGater.
func (g gater) InterceptSecured(_ network.Direction, p peer.ID, c network.ConnMultiaddrs) bool {
	return !g.lists.Refuse(g.lists.Check(p, AddressOf(c.RemoteMultiaddr())))
}

// InterceptUpgraded implements connmgr.ConnectionGater.
func (g gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// AddressOf returns the address of the node that a multiaddr leads to: none where it
// is a name, or a relay's, which is not the address of whom it relays for.
func AddressOf(addr ma.Multiaddr) netip.Addr {
	if addr == nil {
		return netip.Addr{}
	}
	if _, err := addr.ValueForProtocol(ma.P_CIRCUIT); err == nil {
		return netip.Addr{}
	}
	ip, err := manet.ToIP(addr)
	if err != nil {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
