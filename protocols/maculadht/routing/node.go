package routing

import (
	"bytes"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// ContactFromNode returns the contact that a node of a reply names, unverified,
// and whether it can be one: a libp2p peer's node id must be its peer id's, an
// Erlang node needs an address.
func ContactFromNode(n wire.Node) (Contact, bool) {
	info := addressing.PeerOf(n)
	c := Contact{
		ID:       IDFromBytes(n.ID),
		NodeID:   n.ID,
		Peer:     info.ID,
		Addrs:    info.Addrs,
		Endpoint: n.Address,
		LastSeen: wire.TimeOfMilli(n.LastSeen),
	}
	if c.IsErlang() {
		return c, c.Endpoint != ""
	}
	id := IDFromPeer(c.Peer)
	return c, bytes.Equal(n.ID, id[:])
}
