package maculadht

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

const (
	maxLooked = 1_000 // entries that one answer looks at; which ones differs from time to time
	maxNamed  = 1_000 // entries that a stream is told of in its life
)

// listGateways returns the gateways of our realm that are known: this node
// itself, those that registered themselves under a key of their own, and the
// verified contacts with an endpoint at which they were seen.
//
// Whoever bootstraps from us dials every one of them anew each time that it
// asks (docs/WIRE.md). So on a stream that has CONNECTed each is named once, and
// this node never, nor the one that asks. Two entries are one gateway if they
// share a node id or an address.
//
// Anybody may store such keys and ask for the list as often: what one answer
// looks at, and what a stream remembers, is limited.
func (c *serving) listGateways() wire.GatewayList {
	once := c.connected && c.Dialect.GatewaysOnce
	list := make(wire.GatewayList, 0, MaxGateways)
	if len(c.named) >= 2*maxNamed {
		return list
	}
	seen := c.ownNames()
	add := func(g wire.Gateway) bool {
		id, address := gatewayNames(g)
		if !seen[id] && !seen[address] && !c.named[id] && !c.named[address] {
			seen[id], seen[address] = true, true
			list = append(list, g)
		}
		return len(list) < MaxGateways
	}
	if own, ok := c.gateway(c.nodeID, c.cfg.endpoint()); ok && !once {
		list = append(list, own)
	}
	looked := 0
	_ = c.server.Records().Range(context.Background(), []byte(wire.GatewayPrefix), func(_ []byte, recs []records.Record) bool {
		looked++
		g, ok := wire.ParseGateway(recs[0].Value)
		if ok && g.Realm == c.cfg.realm && !add(g) {
			return false
		}
		return looked < maxLooked
	})
	for _, contact := range c.server.Contacts() {
		if len(list) == MaxGateways {
			break
		}
		id := contact.NodeID
		if contact.ClientID != "" {
			id = []byte(contact.ClientID) // by which an Erlang node knows itself, and others, in such lists
		}
		known := contact.Verified && (contact.IsErlang() || contact.EndpointSeen)
		if g, ok := c.gateway(id, contact.Endpoint); ok && known {
			add(g)
		}
	}
	if once {
		for _, g := range list {
			c.name(g)
		}
	}
	return list
}

// name notes that a gateway has been listed on this stream.
func (c *serving) name(g wire.Gateway) {
	if c.named == nil {
		c.named = make(map[string]bool)
	}
	id, address := gatewayNames(g)
	c.named[id], c.named[address] = true, true
}

// neverName keeps the node that has CONNECTed on this stream from being listed to
// itself, which would have it dial itself.
func (c *serving) neverName(nodeID []byte, endpoint string) {
	if !c.Dialect.GatewaysOnce || len(c.named) >= 2*maxNamed {
		return
	}
	g, _ := c.gateway(nodeID, endpoint)
	g.NodeID = nodeID
	c.name(g)
}

// ownNames returns what an entry of this node itself could go by.
func (c *serving) ownNames() map[string]bool {
	names := make(map[string]bool)
	if own, ok := c.gateway(c.nodeID, c.cfg.endpoint()); ok {
		_, address := gatewayNames(own)
		names[address] = true
	}
	id, _ := gatewayNames(wire.Gateway{NodeID: c.nodeID})
	names[id] = true
	for _, a := range c.cfg.addrs() {
		if addr := addrPortOf(a); addr.IsValid() {
			names["at "+addr.String()] = true
		}
	}
	return names
}

// gatewayNames returns what tells a gateway from others: its node id, and its
// address in one spelling.
func gatewayNames(g wire.Gateway) (id, address string) {
	host := strings.ToLower(strings.TrimSuffix(g.Host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return "id " + string(g.NodeID), "at " + net.JoinHostPort(host, strconv.FormatInt(g.Port, 10))
}

// gateway returns the entry of a node with an endpoint.
func (c *serving) gateway(nodeID []byte, endpoint string) (wire.Gateway, bool) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return wire.Gateway{}, false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return wire.Gateway{}, false
	}
	return wire.Gateway{NodeID: nodeID, Host: u.Hostname(), Port: int64(port), Realm: c.cfg.realm}, true
}
