package routing

import (
	"net/netip"
	"net/url"

	manet "github.com/multiformats/go-multiaddr/net"
)

// How many contacts whose id proves nothing, which are Erlang nodes, the table
// takes of one network: an IPv4 /24 or an IPv6 /48. Whoever has one machine
// could else be in every place of a bucket. Private addresses are not counted:
// there all of a mesh may be in one network.
const (
	// DefaultPerBucket is how many one bucket takes.
	DefaultPerBucket = 2
	// DefaultPerTable is how many the whole table takes.
	DefaultPerTable = 8
)

// diversity is how many Erlang contacts of one network are taken.
type diversity struct {
	perBucket, perTable int
}

// networks counts the Erlang contacts of each network that is limited.
type networks map[netip.Prefix]int

func (n networks) count(c *Contact, by int) {
	network, ok := c.network()
	if !ok {
		return
	}
	if n[network] += by; n[network] == 0 {
		delete(n, network)
	}
}

// network returns the network of an Erlang contact, if it is one that is
// limited. A name counts as the address that it was verified at; without one it
// is not limited, as it was an operator who wrote it.
func (c *Contact) network() (netip.Prefix, bool) {
	if !c.IsErlang() {
		return netip.Prefix{}, false
	}
	ip, err := c.ip()
	if err != nil {
		return netip.Prefix{}, false
	}
	ip = ip.Unmap().WithZone("")
	a, err := manet.FromIP(ip.AsSlice())
	if err != nil || !manet.IsPublicAddr(a) {
		return netip.Prefix{}, false
	}
	bits := 24
	if ip.Is6() {
		bits = 48
	}
	network, err := ip.Prefix(bits)
	return network, err == nil
}

// ip returns the address of an Erlang contact.
func (c *Contact) ip() (netip.Addr, error) {
	if len(c.Addrs) > 0 {
		ip, err := manet.ToIP(c.Addrs[0])
		if err != nil {
			return netip.Addr{}, err
		}
		return netip.ParseAddr(ip.String())
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(u.Hostname())
}

// crowded reports whether added would be one too many of its network, once known,
// which may be nil, and its rivals have made way for it.
func (t *Table) crowded(added, known *Contact, rivals []*Contact) bool {
	network, limited := added.network()
	if !limited {
		return false
	}
	bucket := t.bucketOf(added.ID)
	inTable, inBucket := t.networks[network], 0
	for _, c := range t.buckets.lists[bucket] {
		if n, ok := c.network(); ok && n == network {
			inBucket++
		}
	}
	for _, leaves := range append(rivals, known) {
		if leaves == nil {
			continue
		}
		if n, ok := leaves.network(); ok && n == network {
			inTable--
			if t.bucketOf(leaves.ID) == bucket {
				inBucket--
			}
		}
	}
	return inTable >= t.limit.perTable || inBucket >= t.limit.perBucket
}
