package uplink

import (
	"context"
	"net/netip"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// meet takes the neighbours that a gateway lists for contacts, once each has
// answered. A gateway does not get us to dial into our own network, or ourselves,
// by an address that can not be what it meant. Of one that was tried a short while
// ago nothing is asked.
func (u *uplink) meet(ctx context.Context, own procedures.Gateway, list procedures.GatewayList, c *dialer.Conn) {
	gateway := c.RemoteAddr().Addr()
	may := func(ip netip.Addr) bool { return reachableFrom(gateway, ip) }
	for endpoint, when := range u.tried {
		if time.Since(when) >= u.cfg.intervals.Neighbours {
			delete(u.tried, endpoint)
		}
	}
	for _, g := range list[:min(len(list), proto.MaxGateways)] {
		at, err := g.Endpoint()
		if err != nil || g.Realm != u.handlers.Realm() || string(g.NodeID) == string(own.NodeID) || u.isOurs(g, at) {
			continue
		}
		endpoint := at.String()
		if _, again := u.tried[endpoint]; again {
			continue
		}
		u.tried[endpoint] = time.Now()
		neighbour, err := u.dialer.Verify(ctx, routing.Contact{
			ID:       routing.IDFromBytes(g.NodeID),
			NodeID:   g.NodeID,
			Endpoint: endpoint,
		}, may)
		if ctx.Err() != nil {
			return
		}
		if err == nil && neighbour.ClientID != "" && neighbour.ClientID == u.cfg.self {
			err = errOurself
		}
		if err != nil {
			u.log.Debug("neighbour not verified", "endpoint", endpoint, "err", err)
			continue
		}
		u.admit(neighbour)
	}
}

// isOurs reports whether an entry is this node's.
func (u *uplink) isOurs(g procedures.Gateway, at endpoints.Endpoint) bool {
	self := u.handlers.Routing().Self()
	ours, err := endpoints.Parse(u.handlers.Endpoint())
	return string(g.NodeID) == string(self[:]) || err == nil && at == ours ||
		identity.IsClientID(g.NodeID, u.cfg.self)
}
