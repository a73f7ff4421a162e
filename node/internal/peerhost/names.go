package peerhost

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"
)

// names resolves the names in multiaddrs. To a host at a public address a name that a peer
// told of leads to public addresses alone, as its list does: whose name it is decides where it
// leads, which could be anything in this host's own network. Names in bootstrap addresses are
// the operator's and lead anywhere; but the names that a /dnsaddr of these leads to are not, as
// who has its zone writes them: a private network is named by /dns4 or /dns6 there, or by its
// addresses in the zone.
type names struct {
	network.MultiaddrDNSResolver
	peers map[peer.ID]bool // bootstrap peers, and the names of theirs
	named map[string]bool
	own   atomic.Pointer[func() []ma.Multiaddr] // nil until the host is there
}

func newNames(bootstrap []peer.AddrInfo) *names {
	n := &names{
		MultiaddrDNSResolver: swarm.ResolverFromMaDNS{Resolver: madns.DefaultResolver},
		peers:                make(map[peer.ID]bool),
		named:                make(map[string]bool),
	}
	for _, b := range bootstrap {
		n.peers[b.ID] = true
		for _, a := range b.Addrs {
			n.named[nameIn(a)] = true
		}
	}
	return n
}

// nameIn returns the first part of an address, which is a name where it has to be resolved.
func nameIn(a ma.Multiaddr) string {
	if len(a) == 0 {
		return ""
	}
	return a[0].Value()
}

// ResolveDNSAddr implements network.MultiaddrDNSResolver.
func (n *names) ResolveDNSAddr(ctx context.Context, of peer.ID, addr ma.Multiaddr, depth, most int) ([]ma.Multiaddr, error) {
	found, err := n.MultiaddrDNSResolver.ResolveDNSAddr(ctx, of, addr, depth, most)
	if err != nil || n.peers[of] {
		return found, err
	}
	return n.outside(addr, found)
}

// ResolveDNSComponent implements network.MultiaddrDNSResolver.
func (n *names) ResolveDNSComponent(ctx context.Context, addr ma.Multiaddr, most int) ([]ma.Multiaddr, error) {
	found, err := n.MultiaddrDNSResolver.ResolveDNSComponent(ctx, addr, most)
	if err != nil || n.named[nameIn(addr)] {
		return found, err
	}
	return n.outside(addr, found)
}

// outside leaves out where a name may not lead.
func (n *names) outside(name ma.Multiaddr, found []ma.Multiaddr) ([]ma.Multiaddr, error) {
	own := n.own.Load()
	if own == nil {
		return found, nil
	}
	public := leavingOut(*own)(found)
	if len(public) == 0 && len(found) > 0 {
		return nil, fmt.Errorf("%s leads to %s, in a network of our own, though a peer told of it", name, found[0])
	}
	return public, nil
}
