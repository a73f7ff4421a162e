package node

import (
	"context"
	"slices"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// openUplinks starts a session with each Erlang gateway among the bootstrap
// addresses, but for this node itself: one list for all nodes names each of them.
func (n *Node) openUplinks() error {
	self, err := dialer.ClientID(n.certificate.Leaf)
	if err != nil {
		return err
	}
	n.uplinks, err = uplink.New(n.dialer, n.service.Handlers(), otherGateways(n.cfg.gateways, n.Endpoints()),
		uplink.WithListable(func() bool { return n.service.Mode() == maculadht.ModeServer }),
		uplink.WithSelf(self),
		uplink.WithLogger(n.cfg.log("uplink")),
	)
	return err
}

// otherGateways returns those that are not at an endpoint of our own.
func otherGateways(all []dialer.PinnedEndpoint, own []string) []dialer.PinnedEndpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e dialer.PinnedEndpoint) bool { return slices.Contains(own, e.String()) })
}

// Uplinks returns the sessions with the Erlang gateways among the bootstrap
// addresses.
func (n *Node) Uplinks() *uplink.Uplinks { return n.uplinks }

// bootstrap publishes through the node's uplinks, which need its handlers and so
// come later than these.
type bootstrap struct{ n *Node }

// Publish implements server.Publisher.
func (b bootstrap) Publish(ctx context.Context, m *wire.Publish) error {
	return b.n.uplinks.Publish(ctx, m)
}
