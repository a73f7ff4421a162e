package peerhost

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// RelayCandidates hands out peers that kad-dht knows, up to most and in random order: a host that the public can not
// reach asks them for a slot on a relay, and those that are none refuse. It is an autorelay.PeerSource.
func (h *Host) RelayCandidates(_ context.Context, most int) <-chan peer.AddrInfo {
	candidates := make(chan peer.AddrInfo, most)
	defer close(candidates)
	select {
	case <-h.hasKad: // it is started after the host
	default:
		return candidates
	}
	peers := h.Kad.RoutingTable().ListPeers()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for _, p := range peers[:min(len(peers), most)] {
		candidates <- h.Base.Peerstore().PeerInfo(p)
	}
	return candidates
}

// leavingOut returns which addresses kad-dht keeps of those that it is told: a host that is known at a public address
// keeps no others, as what a public peer knows of its own network leads nowhere, or into ours.
func leavingOut(own func() []ma.Multiaddr) func([]ma.Multiaddr) []ma.Multiaddr {
	return func(told []ma.Multiaddr) []ma.Multiaddr {
		if slices.ContainsFunc(own(), manet.IsPublicAddr) {
			return ma.FilterAddrs(told, manet.IsPublicAddr)
		}
		return told
	}
}
