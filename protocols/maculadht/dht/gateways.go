package dht

import (
	"bytes"
	"slices"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

const (
	// maxTold is how many nodes an Erlang node is told of in the life of a stream on
	// which it has CONNECTed. It takes nobody off, asks each at each of its misses, one
	// after the other, for 5 s where one is gone, and crashes above 10 s.
	maxTold  = 2
	maxNamed = 1_000 // names that are kept from a stream, of who has CONNECTed on it
)

// listGateways returns the gateways of our realm that are known: this node
// itself, and the verified contacts with an endpoint at which they were seen. To
// Erlang nodes it names libp2p peers alone, as Erlang nodes that know each other
// crash each other (docs/WIRE.md). What somebody stored under the key of a gateway
// is no source: whoever reads the list dials what it names.
//
// Whoever bootstraps from us dials every one of them anew each time that it asks.
// So on a stream that has CONNECTed each is named once, and this node never, nor
// the one that asks. Two entries are one gateway if they share a node id or an
// address.
func (h *Handlers) listGateways(a *asker) procedures.GatewayList {
	once := a.Connected() && a.dialect.GatewaysOnce
	list := make(procedures.GatewayList, 0, proto.MaxGateways)
	if a.unnamed || len(a.named) >= 2*maxNamed {
		return list
	}
	seen := h.ownNames()
	reach := a.reach()
	if own, ok := h.gateway(h.nodeID, h.EndpointFor(reach)); ok && !once {
		list = append(list, own)
	}
	for _, contact := range h.routes.Contacts() {
		if len(list) == proto.MaxGateways {
			break
		}
		if contact.ID == a.id || !h.mayList(&contact, a.dialect) {
			continue
		}
		nodeID := contact.NodeID
		if contact.ClientID != "" {
			nodeID = []byte(contact.ClientID) // by which an Erlang node knows itself, and others, in such lists
		}
		g, ok := h.gateway(nodeID, reach.Endpoint(contact.Endpoint))
		if !ok {
			continue
		}
		id, address := gatewayNames(g)
		if seen[id] || seen[address] || a.named[id] || a.named[address] || once && !a.mayTell(nodeID) {
			continue
		}
		if once && !a.name(g) {
			break
		}
		seen[id], seen[address] = true, true
		list = append(list, g)
	}
	return list
}

// mayList reports whether a contact is one that a list of gateways names.
func (h *Handlers) mayList(c *routing.Contact, d *server.Dialect) bool {
	if d.PeersAlone {
		return h.routes.NamesGateway(*c)
	}
	return c.Confirmed() && (c.IsErlang() || c.EndpointSeen)
}

// mayTell reports whether the node at the other end may be told of another one: any
// may, but of Erlang nodes those that have CONNECTed, which may be told of maxTold.
func (a *asker) mayTell(nodeID []byte) bool {
	if a == nil || !a.dialect.PeersAlone || !a.Connected() || slices.ContainsFunc(a.told, func(told []byte) bool { return bytes.Equal(told, nodeID) }) {
		return true
	}
	if len(a.told) == maxTold {
		return false
	}
	a.told = append(a.told, nodeID)
	return true
}

// nameCost is what a gateway that has been listed costs beside its names, in bytes.
const nameCost = 256

// name notes that a gateway has been listed on this stream. It reports false where
// the peer's account has no room for that: it must not be listed then, and nothing
// is from there on.
func (a *asker) name(g procedures.Gateway) bool {
	id, address := gatewayNames(g)
	if !a.Hold(nameCost + len(id) + len(address)) {
		a.unnamed = true
		return false
	}
	if a.named == nil {
		a.named = make(map[string]bool)
	}
	a.named[id], a.named[address] = true, true
	return true
}

// neverName keeps the node that has CONNECTed on this stream from being listed to
// itself, which would have it dial itself.
func (h *Handlers) neverName(a *asker, nodeID []byte, endpoint string) {
	if !a.dialect.GatewaysOnce || len(a.named) >= 2*maxNamed {
		return
	}
	g, _ := h.gateway(nodeID, endpoint)
	g.NodeID = nodeID
	id, address := gatewayNames(g)
	if !a.named[id] || !a.named[address] {
		a.name(g)
	}
}

// ownNames returns what an entry of this node itself could go by.
func (h *Handlers) ownNames() map[string]bool {
	names := make(map[string]bool)
	if own, ok := h.gateway(h.nodeID, h.Endpoint()); ok {
		_, address := gatewayNames(own)
		names[address] = true
	}
	id, _ := gatewayNames(procedures.Gateway{NodeID: h.nodeID})
	names[id] = true
	for _, a := range h.cfg.addrs() {
		if addr := addressing.AddrPortOf(a); addr.IsValid() {
			names["at "+addr.String()] = true
		}
	}
	return names
}

// gatewayNames returns what tells a gateway from others: its node id, and its
// address in one spelling.
func gatewayNames(g procedures.Gateway) (id, address string) {
	if e, err := g.Endpoint(); err == nil {
		address = "at " + e.HostPort()
	}
	return "id " + string(g.NodeID), address
}

// gateway returns the entry of a node with an endpoint.
func (h *Handlers) gateway(nodeID []byte, endpoint string) (procedures.Gateway, bool) {
	e, err := endpoints.Parse(endpoint)
	if err != nil {
		return procedures.Gateway{}, false
	}
	return procedures.Gateway{NodeID: nodeID, Host: e.Host, Port: int64(e.Port), Realm: h.cfg.realm}, true
}
