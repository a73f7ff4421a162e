package node

import (
	"github.com/macula-mesh/macula-node/protocols/rpc"
	"github.com/macula-mesh/macula-node/protocols/rpc/diagnostics"
)

// openCalls serves calls, and those by which a gateway tells of itself.
func (n *Node) openCalls() (err error) {
	if n.calls, err = rpc.New(n.service, rpc.WithLimits(n.cfg.Parts.Calls), rpc.WithLogger(n.cfg.log("rpc")), rpc.WithMetricsTracer(n.metrics.Calls)); err != nil {
		return err
	}
	return diagnostics.Serve(n.calls, diagnostics.Gateway{Node: n.ID().String(), Realm: n.cfg.Realm, Version: n.cfg.Version})
}

// Calls returns what serves procedures and calls them.
func (n *Node) Calls() *rpc.Calls { return n.calls }
