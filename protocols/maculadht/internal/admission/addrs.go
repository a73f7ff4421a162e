package admission

import (
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// isAt reports whether an endpoint has the IP address of a multiaddr.
func isAt(endpoint string, seenAt ma.Multiaddr) bool {
	e, err := endpoints.Parse(endpoint)
	if err != nil || seenAt == nil {
		return false
	}
	ip, isIP := e.Addr()
	return isIP && ip == addressing.AddrPortOf(seenAt).Addr().Unmap()
}

// seenAt returns the address of a multiaddr that a peer was seen at over QUIC.
func seenAt(a ma.Multiaddr) netip.AddrPort {
	if _, err := a.ValueForProtocol(ma.P_UDP); err != nil {
		return netip.AddrPort{}
	}
	at := addressing.AddrPortOf(a)
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// SeenIP returns the IP address at which a peer is connected, a relay's only where it is
// behind one; invalid where it is not connected.
func SeenIP(n network.Network, p peer.ID) (ip netip.Addr) {
	for _, conn := range n.ConnsToPeer(p) {
		if ip = addressing.SeenIP(conn.RemoteMultiaddr()); !conn.Stat().Limited {
			break
		}
	}
	return ip
}

// learntEndpoint returns the endpoint that a peer tells of itself, or nothing where
// it is none, or can not lead to it, as behind a NAT: Erlang nodes are told of it,
// and dial what they are told.
func learntEndpoint(endpoint string, seenAt ma.Multiaddr) string {
	return reachOver(seenAt).Endpoint(endpoint)
}

// reachOver returns which addresses lead to the other end of a connection.
func reachOver(remote ma.Multiaddr) addressing.Reach {
	return addressing.ReachOf(addressing.AddrPortOf(remote).Addr())
}

// identified returns the addresses that identify has told of a peer: certified ones
// where there is a signed record.
func identified(e event.EvtPeerIdentificationCompleted) []ma.Multiaddr {
	if e.SignedPeerRecord != nil {
		if r, err := e.SignedPeerRecord.Record(); err == nil {
			if certified, ok := r.(*peer.PeerRecord); ok {
				return certified.Addrs
			}
		}
	}
	return e.ListenAddrs
}

// addrsAt returns the addresses of a peer that are kept of those that identify has
// told, and the one at which it answered us.
func addrsAt(conn network.Conn, told []ma.Multiaddr) []ma.Multiaddr {
	remote := conn.RemoteMultiaddr()
	addrs := reachOver(remote).Addrs(told)
	answered := conn.Stat().Direction == network.DirOutbound && !conn.Stat().Limited
	if answered && len(addrs) < addressing.MaxContactAddrs && !slices.ContainsFunc(addrs, remote.Equal) {
		addrs = append(addrs, remote)
	}
	return addrs
}

// addrsOf returns the addresses of the peer at the other end of a connection.
func (a *Admission) addrsOf(conn network.Conn) []ma.Multiaddr {
	var told []ma.Multiaddr
	a.mu.Lock()
	ps := a.sessions[conn.RemotePeer()]
	known := ps != nil && ps.identified
	if known {
		told = ps.addrs
	}
	a.mu.Unlock()
	if !known { // identify was earlier than this service, or is under way
		told = a.cfg.Host.Peerstore().Addrs(conn.RemotePeer())
	}
	return addrsAt(conn, told)
}

// onIdentified gives a peer's contact the addresses that identify tells, which is
// whenever they have changed.
func (a *Admission) onIdentified(e event.EvtPeerIdentificationCompleted) {
	told := identified(e)
	speaks := a.speaks(e.Peer)
	a.addressing.Lock()
	a.mu.Lock()
	if ps := a.sessions[e.Peer]; ps != nil || speaks {
		ps = a.sessionOf(e.Peer)
		ps.addrs, ps.identified = told, true
	}
	a.mu.Unlock()
	a.routing.Table().Readdress(routing.IDFromPeer(e.Peer), addrsAt(e.Conn, told))
	a.addressing.Unlock()
	a.ForgetIfGone(e.Peer) // the disconnect may have been seen before
}
