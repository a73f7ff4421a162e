package routing

import (
	"net/netip"
	"net/url"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// groupCounts counts the contacts of each IP group that have a place of their own.
type groupCounts map[netip.Prefix]int

func (n groupCounts) count(c *Contact, by int) {
	if !c.group.IsValid() || c.crowded {
		return
	}
	if n[c.group] += by; n[c.group] == 0 {
		delete(n, c.group)
	}
}

// ip returns the address by which a contact's IP group goes: the one at which it was
// verified and, where that is not known, the first that it claims. An Erlang node's name
// that nobody has resolved has none: it was an operator who wrote it.
func (c *Contact) ip() netip.Addr {
	if c.SeenIP.IsValid() {
		return c.SeenIP
	}
	for _, a := range c.Addrs {
		if ip := addressing.IPOf(a); ip.IsValid() {
			return ip
		}
	}
	if c.isPeer() || c.Endpoint == "" || len(c.Addrs) > 0 {
		return netip.Addr{}
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return netip.Addr{}
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	return ip
}

// crowds reports whether added would be one too many of its group, once known, which
// may be nil, and its rivals have made way for it.
func (t *Table) crowds(added, known *Contact, rivals []*Contact) bool {
	if !added.group.IsValid() {
		return false
	}
	bucket := t.bucketOf(added.ID)
	inTable, inBucket := t.groups[added.group], 0
	for _, c := range t.buckets.lists[bucket] {
		if c.group == added.group && !c.crowded {
			inBucket++
		}
	}
	for _, leaves := range append(rivals, known) {
		if leaves != nil && leaves.group == added.group && !leaves.crowded {
			inTable--
			if t.bucketOf(leaves.ID) == bucket {
				inBucket--
			}
		}
	}
	return inTable >= t.limits.PerTable || inBucket >= t.limits.PerBucket
}

// promote gives the places that one has left to others of its IP group that have none
// of their own, those in near buckets first: there are fewest that could be there.
func (t *Table) promote(left *Contact) {
	if !left.group.IsValid() || left.crowded {
		return
	}
	for i := len(t.buckets.lists) - 1; i >= 0; i-- {
		for j, c := range t.buckets.lists[i] {
			if c.crowded && c.group == left.group && !t.crowds(c, nil, nil) {
				promoted := *c
				promoted.crowded = false
				t.buckets.lists[i][j] = &promoted
				t.groups.count(&promoted, +1)
			}
		}
	}
}

// Group returns the IP group of a contact, the zero prefix where it is in none: that of
// the address at which it was verified, or of the first that is claimed for it.
func (s *Server) Group(c Contact) netip.Prefix { return s.table.limits.Group(c.ip()) }

// gone is the group of all who answered and are not connected any more: where they were
// only they themselves say.
var gone = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// GroupSeen returns the IP group of the connection that there is to a contact that has
// just answered, which no claim changes, and whether that can be known. All to whom there
// is none any more are one group.
func (s *Server) GroupSeen(c Contact) (group netip.Prefix, known bool) {
	f := s.seenIP.Load()
	if f == nil || c.IsErlang() {
		return netip.Prefix{}, false
	}
	ip := (*f)(c.Peer)
	if !ip.IsValid() {
		return gone, true
	}
	return s.table.limits.Group(ip), true
}

// PerList is how many contacts of one IP group have a place among the nearest.
func (s *Server) PerList() int { return s.table.limits.PerList }

// SetSeenIP has f tell at which IP address a peer is connected, a relay's where it is
// behind one; invalid where it is not connected. Until then, and where f is nil, that is
// not known, and what a peer claims is believed.
func (s *Server) SetSeenIP(f func(peer.ID) netip.Addr) {
	if f == nil {
		s.seenIP.Store(nil)
		return
	}
	s.seenIP.Store(&f)
}

// behind is 1 for a contact that would be more than its IP group's share, else 0.
func (t *Table) behind(c *Contact) int {
	if t.crowds(c, nil, nil) {
		return 1
	}
	return 0
}
