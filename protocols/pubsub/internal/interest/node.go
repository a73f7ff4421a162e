package interest

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/budget"
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

const (
	// maxErlang and maxGateways are to how many Erlang gateways, and gateways of ours at
	// whose endpoints clients are said to be, records of one source or IP group that nothing
	// proves lead under a name. What a lookup found counts as of one.
	maxErlang   = 32
	maxGateways = 8
)

// told is a value under a name, and what is known of who has told it.
type told struct {
	lookup.FoundValue
	own bool           // its node has stored it here itself, over its own session
	by  records.Source // who has stored it here; whoever for what a lookup found
}

// whoever is who has told what a lookup found: holders hand over what anybody has stored.
var whoever = records.Source{Name: "a lookup"}

// nodesOf returns the nodes that the values under a name lead to: libp2p peers whose
// records are their own, proved or stored here by themselves; and gateways that are
// contacts, Erlang ones and those of clients, which can prove nothing, so that only so many
// are believed. Nobody else is sent anything: anybody may store a record, of anybody.
func (all *Interests) nodesOf(found []told) (nodes []Node) {
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
	led := make(ledTo)
	for _, v := range found {
		if bytes.Equal(v.NodeID, self[:]) {
			continue
		}
		p := provider.Of(v.FoundValue)
		c, known := routes.Contact(routing.IDFromBytes(v.NodeID))
		its := known && c.Peer != "" // the record is said to be that libp2p peer's
		if !known {
			c, known = byEndpoint[p.Endpoint]
		}
		switch isOwn := p.Proved || v.own; {
		case isOwn && p.Peer.ID != "":
			nodes = AddNodes(nodes, []Node{{ID: v.NodeID, Peer: p.Peer}})
		case isOwn && its:
			nodes = AddNodes(nodes, []Node{{ID: c.ID[:], Peer: peer.AddrInfo{ID: c.Peer, Addrs: c.Addrs}}})
		case !known, its, !led.may(v.by, &c):
		case c.IsErlang():
			nodes = AddNodes(nodes, []Node{{Gateway: c, Named: [][]byte{v.NodeID}}})
		default:
			nodes = AddNodes(nodes, []Node{{ID: c.ID[:], Peer: peer.AddrInfo{ID: c.Peer, Addrs: c.Addrs}}})
		}
	}
	return nodes
}

// ledTo are the gateways to which records that nothing proves lead, by who has told them.
type ledTo map[telling]map[string]bool

type telling struct {
	by     string
	erlang bool
}

// may reports whether a record that somebody has told may lead to a gateway.
func (l ledTo) may(by records.Source, c *routing.Contact) bool {
	if by.IsOwn() || c.SeenIP.IsValid() && by.Name == budget.SourceOfAddr(c.SeenIP).Name {
		return true // this program, or the gateway itself
	}
	who, most := telling{cmp.Or(by.Group, by.Name), c.IsErlang()}, maxGateways
	if who.erlang {
		most = maxErlang
	}
	switch to := l[who]; {
	case to[c.Endpoint]:
	case len(to) >= most:
		return false
	case to == nil:
		l[who] = map[string]bool{c.Endpoint: true}
	default:
		to[c.Endpoint] = true
	}
	return true
}

// storedHere returns what is stored at this node under a name.
func (all *Interests) storedHere(key []byte) (found []told) {
	stored, _ := all.cfg.Service.Routing().Records().Values(context.Background(), key) // a store that can not be read has none
	for i := range stored {
		r := &stored[i]
		found = append(found, told{FoundValue: foundOf(r), own: r.Owned, by: r.Source})
	}
	return found
}

// foundThere returns what a lookup found.
func foundThere(values []lookup.FoundValue) (found []told) {
	for _, v := range values {
		found = append(found, told{FoundValue: v, by: whoever})
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
