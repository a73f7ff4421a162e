package node

import (
	"context"
	"slices"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// openUplinks starts a session with each Erlang gateway among the bootstrap
// addresses, but for this node itself: one list for all nodes names each of them.
// Where a macula-node answers instead it is joined over libp2p.
func (n *Node) openUplinks(ctx context.Context) error {
	self, err := identity.ClientID(n.certificate.Leaf)
	if err != nil {
		return err
	}
	others := otherGateways(n.cfg.gateways, append(n.Endpoints(), n.LocalEndpoint().String()))
	n.noteItself(others)
	opts := []uplink.Option{
		uplink.WithListable(func() bool { return n.service.Mode() == maculadht.ModeServer }),
		uplink.WithSelf(self),
		uplink.WithPeerFound(n.joinPeer),
		uplink.WithMet(n.gateway.Meet),
		uplink.WithLogger(n.cfg.log("uplink")),
		uplink.WithMetricsTracer(n.metrics.Uplinks),
	}
	n.uplinks, err = uplink.New(n.dialer, n.service.Handlers(), others, opts...)
	if err != nil {
		return err
	}
	return n.watchAddresses(ctx)
}

// joinPeer keeps this node in the network of a peer that answered at an endpoint, as
// long as it does.
func (n *Node) joinPeer(ctx context.Context, p peer.AddrInfo) {
	if err := n.service.Join(ctx, p); err != nil {
		n.cfg.log("uplink").Warn("the macula-node behind the endpoint was not joined", "peer", p.ID, "err", err)
		return
	}
	named := slices.ContainsFunc(n.cfg.bootstrap, func(b peer.AddrInfo) bool { return b.ID == p.ID })
	if !named { // else the operator wants it known, whatever answers at the endpoint
		context.AfterFunc(ctx, func() { n.service.Unjoin(p.ID) })
	}
}

// watchAddresses has the gateways told of our endpoint when that has become
// another one.
func (n *Node) watchAddresses(ctx context.Context) error {
	return n.watch(ctx, func(any) { n.uplinks.Refresh() },
		new(event.EvtLocalAddressesUpdated), new(event.EvtHostReachableAddrsChanged))
}

// noteItself logs which of the bootstrap addresses are this node's own: no mistake
// in a list for all nodes, but alone it leads nowhere.
func (n *Node) noteItself(others []identity.PinnedEndpoint) {
	itself := slices.Clone(n.cfg.itself)
	for _, e := range n.cfg.gateways {
		if !slices.Contains(others, e) {
			itself = append(itself, e.String())
		}
	}
	switch log := n.cfg.log("node"); {
	case len(itself) == 0:
	case len(others) == 0 && len(n.cfg.bootstrap) == 0:
		log.Warn("all bootstrap addresses are this node itself: it joins nobody", "addresses", itself)
	default:
		log.Info("bootstrap addresses that are this node itself are passed over", "addresses", itself)
	}
}

// otherGateways returns those that are not at an endpoint of our own.
func otherGateways(all []identity.PinnedEndpoint, own []string) []identity.PinnedEndpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e identity.PinnedEndpoint) bool { return slices.Contains(own, e.String()) })
}

// Uplinks returns the sessions with the Erlang gateways among the bootstrap
// addresses.
func (n *Node) Uplinks() *uplink.Uplinks { return n.uplinks }

// bootstrap publishes through the node's uplinks, which need its handlers and so
// come later than these.
type bootstrap struct{ n *Node }

// Publish implements dht.Publisher.
func (b bootstrap) Publish(ctx context.Context, m *wire.Publish) error {
	return b.n.uplinks.Publish(ctx, m)
}
