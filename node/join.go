package node

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// How often a bootstrap peer is tried that does not answer.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
	joinDial   = 15 * time.Second
)

// join connects to a bootstrap peer, and tries again until that works once. The
// service introduces itself to it by then.
func (n *Node) join(ctx context.Context, p peer.AddrInfo) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		if s, ok := n.host.Network().(*swarm.Swarm); ok {
			s.Backoff().Clear(p.ID) // the pace is ours: the swarm's own grows to minutes
		}
		dial, cancel := context.WithTimeout(ctx, joinDial)
		err := n.host.Connect(dial, p)
		cancel()
		if err == nil {
			n.cfg.Log.Info("connected to bootstrap peer", "peer", p.ID)
			return
		}
		if ctx.Err() != nil {
			return
		}
		pause := wait/2 + rand.N(wait) // so that many nodes do not come back at once
		n.cfg.Log.Warn("bootstrap peer not reached", "peer", p.ID, "again_in", pause.Round(time.Millisecond), "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}
