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
	others := otherGateways(n.cfg.gateways, append(n.Endpoints(), n.LocalEndpoint().String()))
	n.gateways = len(others)
	n.noteItself(others)
	n.uplinks, err = uplink.New(n.dialer, n.service.Handlers(), others,
		uplink.WithListable(func() bool { return n.service.Mode() == maculadht.ModeServer }),
		uplink.WithSelf(self),
		uplink.WithLogger(n.cfg.log("uplink")),
	)
	return err
}

// noteItself logs which of the bootstrap addresses are this node's own: no mistake
// in a list for all nodes, but alone it leads nowhere.
func (n *Node) noteItself(others []dialer.PinnedEndpoint) {
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
func otherGateways(all []dialer.PinnedEndpoint, own []string) []dialer.PinnedEndpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e dialer.PinnedEndpoint) bool { return slices.Contains(own, e.String()) })
}

// Gateways returns how many Erlang gateways, this node not among them, its
// bootstrap addresses name.
func (n *Node) Gateways() int { return n.gateways }

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
