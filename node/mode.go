package node

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/event"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// Mode is whether a node answers libp2p peers, both on /macula/dht/1.0 and in kad-dht, or only asks and advertises.
// Erlang nodes are served in any mode: one on the same network may reach a node that the public can not.
type Mode string

// The modes of a node.
const (
	// ModeAuto is a server, unless there are public addresses and AutoNAT v2 finds all of them unreachable.
	ModeAuto Mode = "auto"
	// ModeServer answers peers and is listed by them.
	ModeServer Mode = "server"
	// ModeClient answers nobody, and nobody lists it.
	ModeClient Mode = "client"
)

func (m Mode) check() error {
	switch m {
	case ModeAuto, ModeServer, ModeClient:
		return nil
	}
	return fmt.Errorf("mode %q: write auto, server or client", string(m))
}

// atStart is the mode of the service before anything is known of the node's addresses.
func (m Mode) atStart() maculadht.Mode {
	if m == ModeClient {
		return maculadht.ModeClient
	}
	return maculadht.ModeServer
}

// autoMode returns what a node in ModeAuto becomes that is in the mode now, and why. Addresses that AutoNAT v2 has no
// verdict on leave it as it is: a new one behind the same NAT would else make a client a server for minutes.
func autoMode(now maculadht.Mode, e event.EvtHostReachableAddrsChanged) (m maculadht.Mode, why string) {
	reachable, unreachable, unknown := len(e.Reachable), len(e.Unreachable), len(e.Unknown)
	switch {
	case reachable > 0:
		return maculadht.ModeServer, fmt.Sprintf("%s can be reached", e.Reachable[0])
	case unreachable+unknown == 0:
		return maculadht.ModeServer, "there is no public address"
	case unknown == 0:
		return maculadht.ModeClient, fmt.Sprintf("none of the public addresses can be reached: %v", e.Unreachable)
	default:
		return now, fmt.Sprintf("not known yet whether %s can be reached", e.Unknown[0])
	}
}

// watchReachability starts what keeps the mode of a node in ModeAuto, until ctx ends.
// The last event is kept, so what was found out before is not missed.
func (n *Node) watchReachability(ctx context.Context) error {
	return n.watch(ctx, func(e any) { n.onReachability(e.(event.EvtHostReachableAddrsChanged)) },
		new(event.EvtHostReachableAddrsChanged))
}

// watch calls each with every event of our addresses that is of one of the kinds,
// until ctx ends.
func (n *Node) watch(ctx context.Context, each func(event any), kinds ...any) error {
	sub, err := n.host.EventBus().Subscribe(kinds)
	if err != nil {
		return fmt.Errorf("subscribe to what becomes of our addresses: %w", err)
	}
	n.tasks.Go(func() {
		defer sub.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case e, open := <-sub.Out():
				if !open {
					return
				}
				each(e)
			}
		}
	})
	return nil
}

func (n *Node) onReachability(e event.EvtHostReachableAddrsChanged) {
	now := n.service.Mode()
	m, why := autoMode(now, e)
	if m == now {
		n.cfg.log("node").Debug("mode stays", "mode", m, "why", why)
		return
	}
	n.cfg.log("node").Info("mode changes", "from", now, "to", m, "why", why)
	if err := n.service.SetMode(m); err != nil {
		n.cfg.log("node").Error("mode does not change", "err", err)
		return
	}
	n.host.SetKadServer(m == maculadht.ModeServer)
}

// Mode returns what the node was told to be. What ModeAuto has come to is the mode of its Service.
func (n *Node) Mode() Mode { return n.cfg.Mode }
