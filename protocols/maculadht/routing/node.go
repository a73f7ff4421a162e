package routing

import (
	"bytes"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// ContactFromNode returns the contact that a node of a reply names, unverified,
// and whether it can be one: a libp2p peer's node id must be its peer id's, an
// Erlang node needs an address.
func ContactFromNode(n wire.Node) (Contact, bool) {
	info := PeerOf(n)
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

// PeerOf returns the libp2p peer that a node of a reply names by its addrs; its
// ID is empty where the node is an Erlang one. Addresses that are none, or that
// name another peer than the first, are left out.
func PeerOf(n wire.Node) peer.AddrInfo {
	var info peer.AddrInfo
	for _, b := range n.Addrs {
		a, err := DecodeAddr(b)
		if err != nil {
			continue
		}
		transport, id := peer.SplitAddr(a)
		if id == "" || info.ID != "" && id != info.ID {
			continue
		}
		info.ID = id
		if len(transport) > 0 {
			info.Addrs = append(info.Addrs, transport)
		}
	}
	return info
}
