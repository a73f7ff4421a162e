package uplink

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// realmError: a gateway serves another realm than ours.
type realmError struct {
	gateway      endpoints.Endpoint
	theirs, ours string
	proved       bool // by its certificate, else an entry of anybody's may say so
}

func (e *realmError) Error() string {
	return fmt.Sprintf("%v: %s serves %q, this node %q: %s", ErrOtherRealm, e.gateway, e.theirs, e.ours, NameOfOurRealm)
}

// NameOfOurRealm is what to do where one serves another realm.
const NameOfOurRealm = "name one of this realm, or give this node that realm"

func (e *realmError) Unwrap() error { return ErrOtherRealm }

// look asks a gateway who it is, and returns its own entry and those of others.
func (u *uplink) look(contact routing.Contact, c *dialer.Conn) (own procedures.Gateway, others procedures.GatewayList, err error) {
	list, err := client.ListGateways(u.ctx, c, contact)
	if err != nil {
		return own, nil, err
	}
	own, proved, err := ownEntry(list, contact.ClientID, u.endpoint, c.RemoteAddr())
	if err != nil {
		return own, nil, err
	}
	if ours := u.handlers.Realm(); own.Realm != ours {
		return own, nil, &realmError{u.endpoint, own.Realm, ours, proved}
	}
	return own, list, nil
}

// ownEntry returns the entry of the gateway that has sent a list: its node id is
// the digest of its certificate or, where the operator has given it another one,
// its host and port are where it was reached. Anybody may have stored an entry
// there, so those that could be its own have to agree on the realm: a CONNECT
// of the wrong one hangs it. It tells whether the certificate proves the entry. The
// error is errUnlisted or errTwoRealms.
func ownEntry(list procedures.GatewayList, clientID string, e endpoints.Endpoint, remote netip.AddrPort) (own procedures.Gateway, proved bool, err error) {
	var byKey, byPlace []procedures.Gateway
	for _, g := range list {
		if identity.IsClientID(g.NodeID, clientID) {
			byKey = append(byKey, g)
			continue
		}
		at, err := g.Endpoint()
		if err != nil || !identity.MatchesClientID(g.NodeID, clientID) {
			continue // nowhere, or another node that was there once
		}
		if at == e || at == endpoints.At(remote) {
			byPlace = append(byPlace, g)
		}
	}
	all := byKey
	if len(all) == 0 {
		all = byPlace
	}
	if len(all) == 0 {
		return procedures.Gateway{}, false, errUnlisted
	}
	for _, g := range all[1:] {
		if g.Realm != all[0].Realm {
			return procedures.Gateway{}, false, fmt.Errorf("%w: %q and %q", errTwoRealms, all[0].Realm, g.Realm)
		}
	}
	return all[0], len(byKey) > 0, nil
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

// toTell returns the endpoint by which a gateway is to list this node, or why it is
// not to.
func (u *uplink) toTell(c *dialer.Conn) (endpoint, whyNot string) {
	endpoint = u.handlers.Endpoint()
	if endpoint == "" {
		return "", "it has no endpoint"
	}
	if !u.cfg.listable() {
		return "", "it is a client, which answers nobody"
	}
	e, err := endpoints.Parse(endpoint)
	if err != nil {
		return "", err.Error()
	}
	from := c.RemoteAddr().Addr()
	if ip, ok := e.Addr(); ok && !reachableFrom(from, ip) || u.handlers.EndpointFor(addressing.ReachOf(from)) == "" {
		return "", fmt.Sprintf("its endpoint %s can not be reached from there", endpoint)
	}
	return endpoint, ""
}

// toAddr returns an address as netip has it; the zero one where it is none.
func toAddr(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
