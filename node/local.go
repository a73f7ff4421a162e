package node

import (
	"fmt"
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
)

// LocalAddrs returns the multiaddrs, with /p2p, at which other programs of this
// machine reach the node: loopback where it listens on all addresses, else where it
// listens, loopback first.
func (n *Node) LocalAddrs() []ma.Multiaddr {
	var addrs []ma.Multiaddr
	for _, ap := range n.localAddrPorts() {
		family := "ip6"
		if ap.Addr().Is4() {
			family = "ip4"
		}
		addrs = append(addrs, ma.StringCast(fmt.Sprintf("/%s/%s/udp/%d/quic-v1/p2p/%s", family, ap.Addr(), ap.Port(), n.host.ID())))
	}
	return addrs
}

// LocalEndpoint returns where other programs of this machine reach the node as
// Erlang nodes do, with the pin of its certificate; the first of LocalAddrs.
func (n *Node) LocalEndpoint() identity.PinnedEndpoint {
	e := identity.PinnedEndpoint{Pin: identity.PinOf(n.certificate.Leaf)}
	if addrs := n.localAddrPorts(); len(addrs) > 0 {
		e.Endpoint = endpoints.At(addrs[0])
	}
	return e
}

func (n *Node) localAddrPorts() []netip.AddrPort {
	return quicaddr.Local(n.host.Network().ListenAddresses())
}
