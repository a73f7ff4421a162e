package maculadht

import (
	"net"
	"net/url"
	"strconv"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	maxLooked = 1_000 // entries that one answer looks at; which ones differs from time to time
	maxNamed  = 1_000 // entries that a stream is told of in its life
)

// listGateways returns the gateways of our realm that are known: this node
// itself, those that registered themselves under a key of their own, and the
// verified contacts with an endpoint.
//
// Whoever bootstraps from us dials every one of them anew each time that it
// asks (WIRE.md). So on a stream that has CONNECTed each is named once, and
// this node never.
//
// Anybody may store such keys and ask for the list as often: what one answer
// looks at, and what a stream remembers, is limited.
func (c *serving) listGateways() wire.GatewayList {
	once := c.connected && c.Dialect.GatewaysOnce
	if once && c.named == nil {
		c.named = make(map[string]bool)
	}
	list := make(wire.GatewayList, 0, MaxGateways)
	if len(c.named) >= maxNamed {
		return list
	}
	seen := make(map[string]bool)
	add := func(g wire.Gateway) bool {
		address := net.JoinHostPort(g.Host, strconv.FormatInt(g.Port, 10))
		if !seen[address] && !c.named[address] {
			seen[address] = true
			list = append(list, g)
		}
		return len(list) < MaxGateways
	}
	own, hasOwn := c.gateway(c.nodeID, c.cfg.endpoint())
	switch {
	case hasOwn && once:
		seen[net.JoinHostPort(own.Host, strconv.FormatInt(own.Port, 10))] = true
	case hasOwn:
		add(own)
	}
	looked := 0
	c.server.RecordsWithPrefix([]byte(wire.GatewayPrefix), func(_ []byte, records []routing.Record) bool {
		looked++
		g, ok := wire.ParseGateway(records[0].Value)
		if ok && g.Realm == c.cfg.realm && !add(g) {
			return false
		}
		return looked < maxLooked
	})
	for _, contact := range c.server.Contacts() {
		if len(list) == MaxGateways {
			break
		}
		if g, ok := c.gateway(contact.NodeID, contact.Endpoint); ok && contact.Verified {
			add(g)
		}
	}
	if once {
		for address := range seen {
			c.named[address] = true
		}
	}
	return list
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
