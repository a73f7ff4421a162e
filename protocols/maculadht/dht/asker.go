package dht

import (
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Origin is from whom a message came.
type Origin struct {
	// Node is the proven node id of a libp2p peer; zero where nothing proves
	// who sent it.
	Node routing.ID
	// Source is whose storage budget pays; zero for this process itself.
	Source budget.Source
}

// originOf returns from whom what comes on a session's streams is.
func originOf(s *server.Session) Origin {
	var o Origin
	if s.Account != nil {
		o.Source = s.Account.Source()
	}
	if s.Peer != "" {
		o.Node = routing.IDFromPeer(s.Peer)
	}
	return o
}

// asker is a peer on a stream, and what is kept of it there. It is for the goroutine
// that reads.
type asker struct {
	*server.Peer

	dialect *server.Dialect
	from    Origin
	id      routing.ID      // who is not named to itself; zero where nobody says
	named   map[string]bool // the gateways that were listed since the CONNECT, by gatewayNames
	told    [][]byte        // node ids of those that were told of since then, see maxTold
	unnamed bool            // there was no room for one of them: nothing is listed any more
	find    findScratch     // reused, as FIND_VALUE is nearly all of the traffic
	storing storing
}

func newAsker(p *server.Peer) *asker {
	from := originOf(p.Session())
	return &asker{Peer: p, dialect: &p.Session().Dialect, from: from, id: from.Node, storing: storing{ended: make(chan struct{}, 1)}}
}

// reach is which addresses the asker is told.
func (a *asker) reach() addressing.Reach { return addressing.ReachOf(a.Session().Remote.Addr()) }

// audience is for whom a list is made: it says who is named, and by what.
type audience struct {
	dialect *server.Dialect
	id      routing.ID // who is not named to itself; zero where nobody says
	reach   addressing.Reach
	asker   *asker // nil for nobody's stream
}

// audience returns the asker as one.
func (a *asker) audience() audience {
	return audience{dialect: a.dialect, id: a.id, reach: a.reach(), asker: a}
}

// local returns an audience on this machine.
func local(d *server.Dialect) audience { return audience{dialect: d, reach: addressing.ReachLocal} }
