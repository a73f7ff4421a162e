package server

import "github.com/macula-mesh/macula-node/protocols/maculadht/routing"

// audience is for whom a list is made: it says who is named, and by what.
type audience struct {
	dialect *Dialect
	asker   routing.ID // who is not named to itself; zero where nobody says
	reach   routing.Reach
	peer    *Peer // nil for nobody's stream
}

// audience returns who asks on the peer's stream. It is for the goroutine that reads.
func (p *Peer) audience() audience {
	return audience{dialect: &p.session.Dialect, asker: p.asker, reach: p.session.reach(), peer: p}
}

// local returns an audience on this machine.
func local(d *Dialect) audience { return audience{dialect: d, reach: routing.ReachLocal} }
