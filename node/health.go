package node

import "github.com/macula-mesh/macula-node/internal/health"

// openHealth opens the door for probes and metrics, which says that the node is not ready
// until ready is set.
func (n *Node) openHealth() (err error) {
	if n.cfg.Health != "" {
		n.health, err = health.Open(n.cfg.Health, n, n.cfg.log("node"))
	}
	return err
}

// HealthAddr returns where probes of health are answered; nothing where they are not.
func (n *Node) HealthAddr() string {
	if n.health == nil {
		return ""
	}
	return n.health.Addr()
}

// Ready reports whether the node serves: from its start until it is closed.
func (n *Node) Ready() bool { return n.ready.Load() }

// Counts implements health.Node.
func (n *Node) Counts() health.Counts {
	return health.Counts{
		Clients:       n.service.Handlers().Mux().Clients().Len(),
		Subscriptions: n.topics.Stats().Subscriptions,
		Registrations: n.calls.Stats().Procedures,
	}
}
