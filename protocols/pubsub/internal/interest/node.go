package interest

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Node is one that has subscribed: a macula-node with a peer id, or an Erlang gateway that
// is a contact here.
type Node struct {
	ID      []byte          // that it goes by in routes; of an Erlang gateway where it is known
	Peer    peer.AddrInfo   // empty for an Erlang gateway
	Gateway routing.Contact // that one
	// Named are the node ids of the records that lead to an Erlang gateway: if none of
	// them is its own, they are its clients', and it says itself what it wants.
	Named [][]byte
}

// Key tells nodes apart.
func (n *Node) Key() string {
	if n.Peer.ID != "" {
		return string(n.Peer.ID)
	}
	return n.Gateway.Endpoint
}

// String names it for logs.
func (n *Node) String() string {
	if n.Peer.ID != "" {
		return n.Peer.ID.String()
	}
	return n.Gateway.Endpoint
}

// AddNodes adds those that are not there yet.
func AddNodes(all, more []Node) []Node {
	for _, n := range more {
		i := slices.IndexFunc(all, func(o Node) bool { return o.Key() == n.Key() })
		if i < 0 {
			all = append(all, n)
			continue
		}
		all[i].Named = appendNew(all[i].Named, n.Named)
	}
	return all
}

func appendNew(ids, more [][]byte) [][]byte {
	for _, id := range more {
		if !slices.ContainsFunc(ids, func(o []byte) bool { return bytes.Equal(o, id) }) {
			ids = append(ids[:len(ids):len(ids)], id)
		}
	}
	return ids
}

// nodesOf returns the nodes that the values under a name lead to: whom a record names by
// its proved addresses, or who is a contact here, by its node id or as the gateway at whose
// endpoint a client is. Nobody else is dialled: anybody may store a record.
func (all *Interests) nodesOf(found []lookup.FoundValue) (nodes []Node) {
	if len(found) == 0 {
		return nil
	}
	routes := all.cfg.Service.Routing()
	self := routes.Self()
	byEndpoint := make(map[string]routing.Contact)
	for _, c := range routes.Contacts() {
		if c.Endpoint != "" && c.Verified && (c.IsErlang() || c.EndpointSeen) {
			byEndpoint[c.Endpoint] = c
		}
	}
	for _, v := range found {
		if bytes.Equal(v.NodeID, self[:]) {
			continue
		}
		p := provider.Of(v)
		c, known := routes.Contact(routing.IDFromBytes(v.NodeID))
		if !known {
			c, known = byEndpoint[p.Endpoint]
		}
		switch {
		case p.Proved && p.Peer.ID != "":
			nodes = AddNodes(nodes, []Node{{ID: v.NodeID, Peer: p.Peer}})
		case !known:
		case c.IsErlang():
			nodes = AddNodes(nodes, []Node{{Gateway: c, Named: [][]byte{v.NodeID}}})
		default:
			nodes = AddNodes(nodes, []Node{{ID: c.ID[:], Peer: peer.AddrInfo{ID: c.Peer, Addrs: c.Addrs}}})
		}
	}
	return nodes
}

// storedHere returns what is stored at this node under a name.
func (all *Interests) storedHere(key []byte) (found []lookup.FoundValue) {
	stored, _ := all.cfg.Service.Routing().Records().Values(context.Background(), key) // a store that can not be read has none
	for i := range stored {
		found = append(found, foundOf(&stored[i]))
	}
	return found
}

func foundOf(r *records.Record) lookup.FoundValue {
	return lookup.FoundValue{
		Value:   values.Value{Raw: r.Value, NodeID: r.NodeID, TTL: time.Until(r.Expires)},
		Expires: r.Expires,
		Proof:   r.Proof,
	}
}
