package node

import (
	"errors"

	"github.com/macula-mesh/macula-node/internal/health"
)

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

// Alive asks the parts that the node is made of how they are. It returns an error where the node
// does not serve, and where one of them hangs it hangs too.
func (n *Node) Alive() error {
	if !n.Ready() {
		return errors.New("the node does not serve")
	}
	_ = n.Counts()
	_ = n.service.Routing().Contacts()
	_, _, _ = n.records.Stats(), n.StoreStatus(), n.Conns()
	for _, l := range n.Listening() {
		if l.Err == nil {
			return nil
		}
	}
	return errors.New("nothing is listened on")
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
