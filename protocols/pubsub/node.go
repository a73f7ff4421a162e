package pubsub

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

// node is another one that has subscribed: a macula-node with a peer id, or an Erlang
// gateway that is a contact here.
type node struct {
	id      []byte          // that it goes by in routes; of an Erlang gateway where it is known
	peer    peer.AddrInfo   // empty for an Erlang gateway
	gateway routing.Contact // that one
	// named are the node ids of the records that lead to an Erlang gateway: if none of
	// them is its own, they are its clients', and it says itself what it wants.
	named [][]byte
}

// key tells nodes apart.
func (n *node) key() string {
	if n.peer.ID != "" {
		return string(n.peer.ID)
	}
	return n.gateway.Endpoint
}

// addNodes adds those that are not there yet.
func addNodes(all, more []node) []node {
	for _, n := range more {
		i := slices.IndexFunc(all, func(o node) bool { return o.key() == n.key() })
		if i < 0 {
			all = append(all, n)
			continue
		}
		all[i].named = appendNew(all[i].named, n.named)
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
func (t *Topics) nodesOf(found []lookup.FoundValue) (nodes []node) {
	if len(found) == 0 {
		return nil
	}
	routes := t.service.Routing()
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
			nodes = addNodes(nodes, []node{{id: v.NodeID, peer: p.Peer}})
		case !known:
		case c.IsErlang():
			nodes = addNodes(nodes, []node{{gateway: c, named: [][]byte{v.NodeID}}})
		default:
			nodes = addNodes(nodes, []node{{id: c.ID[:], peer: peer.AddrInfo{ID: c.Peer, Addrs: c.Addrs}}})
		}
	}
	return nodes
}

// storedHere returns what is stored at this node under a name.
func (t *Topics) storedHere(key []byte) (found []lookup.FoundValue) {
	all, _ := t.service.Routing().Records().Values(context.Background(), key) // a store that can not be read has none
	for i := range all {
		found = append(found, foundOf(&all[i]))
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
