package server

import (
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// audience is for whom a list is made: it says who is named, and by what.
type audience struct {
	dialect *Dialect
	asker   routing.ID // who is not named to itself; zero where nobody says
	reach   reach
}

// reach is which addresses lead anywhere from where somebody is.
type reach uint8

const (
	reachAll     reach = iota // loopback too
	reachPrivate              // all but loopback
	reachPublic
)

func (p *Peer) audience() audience {
	return audience{dialect: &p.session.Dialect, asker: p.asker, reach: reachFrom(p.session)}
}

// reachFrom returns what can be reached from where a peer was seen; from behind a
// relay what is public alone.
func reachFrom(s *Session) reach {
	ip := s.Remote.Addr().Unmap().WithZone("")
	switch {
	case !s.Remote.IsValid() && s.Peer == "", ip.IsLoopback():
		return reachAll
	case s.Remote.IsValid() && !isPublic(ip):
		return reachPrivate
	default:
		return reachPublic
	}
}

func isPublic(ip netip.Addr) bool {
	a, err := manet.FromIP(ip.AsSlice())
	return err == nil && manet.IsPublicAddr(a)
}

// reachable returns those addresses that mean something to the audience.
func (a audience) reachable(addrs []ma.Multiaddr) []ma.Multiaddr {
	switch a.reach {
	case reachPublic:
		return ma.FilterAddrs(addrs, manet.IsPublicAddr)
	case reachPrivate:
		return ma.FilterAddrs(addrs, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) })
	default:
		return addrs
	}
}
