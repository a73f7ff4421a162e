package uplink

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// look asks a gateway who it is, and returns its own entry and those of others.
func (u *uplink) look(contact routing.Contact, c *dialer.Conn) (own wire.Gateway, others wire.GatewayList, err error) {
	list, err := client.ListGateways(u.ctx, u.dialer, contact)
	if err != nil {
		return own, nil, err
	}
	if own, err = ownEntry(list, contact.ClientID, u.endpoint, c.RemoteAddr()); err != nil {
		return own, nil, err
	}
	ours := u.handlers.Realm()
	first := !u.looked
	u.looked = true
	if own.Realm != ours {
		err := fmt.Errorf("%w: %s serves %q, this node %q: name a gateway of this realm, or give this node that one", ErrOtherRealm, u.endpoint, own.Realm, ours)
		if first {
			u.refusals <- err // has room for one of each gateway
		}
		return own, nil, err
	}
	return own, list, nil
}

// ownEntry returns the entry of the gateway that has sent a list: its node id is
// the digest of its certificate or, where the operator has given it another one,
// its host and port are where it was reached. Anybody may have stored an entry
// there, so those that could be its own have to agree on the realm: a CONNECT
// of the wrong one hangs it. The error is errUnlisted or errTwoRealms.
func ownEntry(list wire.GatewayList, clientID string, e wire.Endpoint, remote netip.AddrPort) (wire.Gateway, error) {
	var byKey, byPlace []wire.Gateway
	for _, g := range list {
		if clientID != "" && strings.EqualFold(string(g.NodeID), clientID) {
			byKey = append(byKey, g)
			continue
		}
		at, err := wire.EndpointOf(g)
		if err != nil || !dialer.MatchesClientID(g.NodeID, clientID) {
			continue // nowhere, or another node that was there once
		}
		if at == e || at == wire.EndpointAt(remote) {
			byPlace = append(byPlace, g)
		}
	}
	own := byKey
	if len(own) == 0 {
		own = byPlace
	}
	if len(own) == 0 {
		return wire.Gateway{}, errUnlisted
	}
	for _, g := range own[1:] {
		if g.Realm != own[0].Realm {
			return wire.Gateway{}, fmt.Errorf("%w: %q and %q", errTwoRealms, own[0].Realm, g.Realm)
		}
	}
	return own[0], nil
}

// reachableFrom reports whether an address can mean the same node to somebody at
// another one as to us: a private address means nothing to the public network,
// and a loopback address nothing to another machine.
func reachableFrom(from, ip netip.Addr) bool {
	switch {
	case ip.IsUnspecified() || ip.IsMulticast():
		return false
	case ip.IsLoopback():
		return from.IsLoopback()
	}
	return dialer.IsPublic(ip) || !dialer.IsPublic(from)
}

// unlistable says why a gateway is not to list this node, nothing if it may.
func (u *uplink) unlistable(c *dialer.Conn) string {
	endpoint := u.handlers.Endpoint()
	if endpoint == "" {
		return "it has no endpoint"
	}
	if !u.cfg.listable() {
		return "it is a client, which answers nobody"
	}
	e, err := wire.ParseEndpoint(endpoint)
	if err != nil {
		return err.Error()
	}
	from := c.RemoteAddr().Addr()
	if ip, ok := e.Addr(); ok && !reachableFrom(from, ip) || u.handlers.EndpointFor(from) == "" {
		return fmt.Sprintf("its endpoint %s can not be reached from there", endpoint)
	}
	return ""
}
