package budget

import (
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Addresses with these lengths of prefix belong to one holder: one who has an
// IPv6 address has the /64 around it, and a /48 is what a customer gets.
//
// kbucket's peerdiversity groups by /16 and by AS, which is right to choose
// neighbours by, but would let one customer of a large network use up the
// budget of all others.
const (
	bitsName6  = 64
	bitsGroup4 = 24
	bitsGroup6 = 48
)

// unknown is the name of an address that isn't known, and the group of the
// peers that come from one, such as behind a relay.
const unknown = "unknown"

// Source is who pays. The zero Source is this node itself, which is counted and
// never limited. Sources are comparable.
type Source struct {
	// Name is the text of a peer id, of an IPv4 address, or of an IPv6 /64.
	Name string
	// Group is the text of the IPv4 /24 or the IPv6 /48 that the source comes
	// from. It is empty for loopback, private and link-local addresses: they pay
	// for themselves only.
	Group string
}

// SourceOfAddr returns the source for which nothing but its IP address is known.
// All invalid addresses are one source; it is limited like any other.
func SourceOfAddr(addr netip.Addr) Source {
	addr = addr.Unmap().WithZone("")
	s := Source{Name: unknown, Group: groupOf(addr)}
	switch {
	case addr.Is4():
		s.Name = addr.String()
	case addr.Is6():
		s.Name = masked(addr, bitsName6)
	}
	return s
}

// SourceOfPeer returns the source of a libp2p peer that connected from addr, or
// through a relay at addr. Where that is not known addr may be invalid; all such
// peers are one group. Without a peer id it is SourceOfAddr.
func SourceOfPeer(id peer.ID, addr netip.Addr) Source {
	if id == "" {
		return SourceOfAddr(addr)
	}
	return Source{Name: id.String(), Group: groupOf(addr.Unmap().WithZone(""))}
}

// OpenPeer returns a handle on the account of a libp2p peer that connected from addr; see
// [SourceOfPeer] and [Budget.Open].
func (b *Budget) OpenPeer(id peer.ID, addr netip.Addr) *Account {
	return b.Open(b.grouped(SourceOfPeer(id, addr), addr))
}

// OpenAddr returns a handle on the account of whom nothing but the IP address is known;
// see [SourceOfAddr] and [Budget.Open].
func (b *Budget) OpenAddr(addr netip.Addr) *Account {
	return b.Open(b.grouped(SourceOfAddr(addr), addr))
}

// grouped gives a source its group where all have one.
func (b *Budget) grouped(s Source, addr netip.Addr) Source {
	if s.Group == "" && b.limits.Everywhere {
		s.Group = groupOfAny(addr.Unmap().WithZone(""))
	}
	return s
}

// IsOwn reports whether s is this node itself.
func (s Source) IsOwn() bool { return s == Source{} }

// String returns the name, and the group in brackets.
func (s Source) String() string {
	switch {
	case s.IsOwn():
		return "this node"
	case s.Group == "":
		return s.Name
	default:
		return s.Name + " (" + s.Group + ")"
	}
}

func groupOf(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return unknown
	case addr.IsLoopback(), addr.IsPrivate(), addr.IsLinkLocalUnicast():
		return ""
	default:
		return groupOfAny(addr)
	}
}

func groupOfAny(addr netip.Addr) string {
	if addr.Is4() {
		return masked(addr, bitsGroup4)
	}
	return masked(addr, bitsGroup6)
}

func masked(addr netip.Addr, bits int) string {
	return netip.PrefixFrom(addr, bits).Masked().String()
}
