// Package diversity tells networks apart: an IP group is an IPv4 /24 or an IPv6 /48.
// A node id is free, and so is a port, but a group is not. So of one group only a few
// contacts have a place in a bucket, in a table and in a list of the nearest; whoever
// has one machine could else be in all of them.
package diversity

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	manet "github.com/multiformats/go-multiaddr/net"
)

// How many contacts of one group have a place, unless an option says otherwise.
const (
	DefaultPerBucket = 2 // in one bucket of a table
	DefaultPerTable  = 8 // in a whole table
	DefaultPerList   = 2 // among the nearest of a list or of a lookup
)

const (
	bits4 = 24
	bits6 = 48
)

// Limits is how many contacts of one group have a place. The zero value is not valid.
type Limits struct {
	PerBucket int // in one bucket of a table
	PerTable  int // in a whole table, at least PerBucket
	PerList   int // among the nearest of a list or of a lookup

	// Everywhere has private addresses, loopback and link-local ones count too. They
	// are in no group without it: there all of a mesh may be in one network.
	Everywhere bool
}

// Defaults returns the limits that there are without an option.
func Defaults() Limits {
	return Limits{PerBucket: DefaultPerBucket, PerTable: DefaultPerTable, PerList: DefaultPerList}
}

// Validate returns an error that says which limit makes no sense.
func (l Limits) Validate() error {
	switch {
	case l.PerBucket < 1 || l.PerTable < l.PerBucket:
		return fmt.Errorf("diversity of %d a bucket, %d a table: want 1 <= a bucket <= a table", l.PerBucket, l.PerTable)
	case l.PerList < 1:
		return fmt.Errorf("diversity of %d a list: want 1 or more", l.PerList)
	}
	return nil
}

// hidden is the group of all whose address is hidden.
var hidden = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// Group returns the group of an address, the zero prefix where it is in none. The
// unspecified address stands for one that is hidden, as by a relay in a network of our
// own: all of these are one group.
func (l Limits) Group(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	if ip.IsUnspecified() {
		return hidden
	}
	if !ip.IsValid() || !l.Everywhere && !isPublic(ip) {
		return netip.Prefix{}
	}
	bits := bits4
	if ip.Is6() {
		bits = bits6
	}
	group, _ := ip.Prefix(bits) // as many bits as an address of its kind has
	return group
}

// Ranges that are not on the internet, and in which IPv6 is, as go-multiaddr has them.
var (
	private4 = prefixes(manet.Private4, manet.Unroutable4)
	private6 = prefixes(manet.Unroutable6) // within public6
	public6  = []netip.Prefix{
		netip.MustParsePrefix("2000::/3"),
		netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("64:ff9b::/96"), // NAT64
	}
)

func prefixes(lists ...[]*net.IPNet) (all []netip.Prefix) {
	for _, n := range slices.Concat(lists...) {
		ip, _ := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		all = append(all, netip.PrefixFrom(ip, bits))
	}
	return all
}

// isPublic is [manet.IsPublicAddr], which each contact of each list is asked: without the
// multiaddr, whose making would be a tenth of what a lookup costs.
func isPublic(ip netip.Addr) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(ip) }
	if ip.Is4() {
		return !slices.ContainsFunc(private4, contains)
	}
	return slices.ContainsFunc(public6, contains) && !slices.ContainsFunc(private6, contains)
}

// Shares counts those of each group that have a place among the nearest. The zero value
// is empty. It is for a few dozen groups, and keeps its memory.
type Shares struct {
	groups []netip.Prefix
	counts []int
}

// Reset empties it.
func (s *Shares) Reset() { s.groups, s.counts = s.groups[:0], s.counts[:0] }

// Take counts one more of a group, and reports false where most have a place already.
// Of no group there is any number.
func (s *Shares) Take(group netip.Prefix, most int) bool {
	if !group.IsValid() {
		return true
	}
	i := slices.Index(s.groups, group)
	if i < 0 {
		s.groups, s.counts = append(s.groups, group), append(s.counts, 1)
		return true
	}
	if s.counts[i] >= most {
		return false
	}
	s.counts[i]++
	return true
}
