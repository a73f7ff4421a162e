package node

import (
	"context"
	"slices"

	"github.com/macula-mesh/macula-node/compat"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// openUplinks starts a session with each Erlang gateway among the bootstrap
// addresses, but for this node itself: one list for all nodes names each of them.
func (n *Node) openUplinks() error {
	own := n.Endpoints()
	gateways := slices.DeleteFunc(slices.Clone(n.cfg.gateways), func(e compat.Endpoint) bool {
		return slices.Contains(own, e.String())
	})
	self, err := compat.ClientID(n.certificate.Leaf)
	if err != nil {
		return err
	}
	n.uplinks, err = compat.NewUplinks(n.dialer, n.service.Handlers, gateways,
		compat.UplinkListable(func() bool { return n.service.Mode() == maculadht.ModeServer }),
		compat.UplinkSelf(self),
		compat.UplinkLogger(n.cfg.Log),
	)
	return err
}

// Uplinks returns the sessions with the Erlang gateways among the bootstrap
// addresses.
func (n *Node) Uplinks() *compat.Uplinks { return n.uplinks }

// bootstrap publishes through the node's uplinks, which need its handlers and so
// come later than these.
type bootstrap struct{ n *Node }

// Publish implements maculadht.Publisher.
func (b bootstrap) Publish(ctx context.Context, m *wire.Publish) error {
	return b.n.uplinks.Publish(ctx, m)
}
