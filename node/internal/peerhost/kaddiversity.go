package peerhost

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p-kbucket/peerdiversity"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

// kadDiversity limits how many peers of one IP group kad-dht's routing table takes, as our own table does. kad-dht has
// such a filter, but private networks are groups to it, as is all of IPv6 of which it does not know whose it is.
type kadDiversity struct {
	host   host.Host
	limits diversity.Limits

	mu      sync.Mutex
	peers   map[peer.ID]kadPlace
	table   map[netip.Prefix]int
	buckets map[kadBucket]int
}

// kadPlace is what a peer in the table is counted as.
type kadPlace struct {
	bucket int
	groups []netip.Prefix
}

type kadBucket struct {
	bucket int
	group  netip.Prefix
}

var _ peerdiversity.PeerIPGroupFilter = (*kadDiversity)(nil)

func newKadDiversity(h host.Host, everywhere bool) *kadDiversity {
	limits := diversity.Defaults()
	limits.Everywhere = everywhere
	return &kadDiversity{
		host:    h,
		limits:  limits,
		peers:   make(map[peer.ID]kadPlace),
		table:   make(map[netip.Prefix]int),
		buckets: make(map[kadBucket]int),
	}
}

// PeerAddresses implements peerdiversity.PeerIPGroupFilter: a peer is where it is connected, whatever it claims.
func (d *kadDiversity) PeerAddresses(p peer.ID) (addrs []ma.Multiaddr) {
	for _, conn := range d.host.Network().ConnsToPeer(p) {
		addrs = append(addrs, conn.RemoteMultiaddr())
	}
	return addrs
}

// groupsOf returns the groups that a peer is in.
func (d *kadDiversity) groupsOf(p peer.ID) (groups []netip.Prefix) {
	for _, a := range d.PeerAddresses(p) {
		if group := d.limits.Group(addressing.SeenIP(a)); group.IsValid() && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups
}

// Allow implements peerdiversity.PeerIPGroupFilter. It is called for each address of a peer.
func (d *kadDiversity) Allow(g peerdiversity.PeerGroupInfo) bool {
	groups := d.groupsOf(g.Id)
	d.mu.Lock()
	defer d.mu.Unlock()
	return !slices.ContainsFunc(groups, func(group netip.Prefix) bool {
		return d.table[group] >= d.limits.PerTable || d.buckets[kadBucket{g.Cpl, group}] >= d.limits.PerBucket
	})
}

// Increment implements peerdiversity.PeerIPGroupFilter: the first call for a peer counts.
func (d *kadDiversity) Increment(g peerdiversity.PeerGroupInfo) {
	groups := d.groupsOf(g.Id)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, counted := d.peers[g.Id]; !counted {
		d.peers[g.Id] = kadPlace{g.Cpl, groups}
		d.count(d.peers[g.Id], +1)
	}
}

// Decrement implements peerdiversity.PeerIPGroupFilter: the first call for a peer counts.
func (d *kadDiversity) Decrement(g peerdiversity.PeerGroupInfo) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if place, counted := d.peers[g.Id]; counted {
		delete(d.peers, g.Id)
		d.count(place, -1)
	}
}

// count counts a place; the caller holds mu.
func (d *kadDiversity) count(place kadPlace, by int) {
	for _, group := range place.groups {
		if d.table[group] += by; d.table[group] == 0 {
			delete(d.table, group)
		}
		in := kadBucket{place.bucket, group}
		if d.buckets[in] += by; d.buckets[in] == 0 {
			delete(d.buckets, in)
		}
	}
}
