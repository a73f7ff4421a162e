package node

import (
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
	return quicaddr.Multiaddrs(n.localAddrPorts(), n.host.ID())
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
