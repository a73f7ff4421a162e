// Package addressing is the addresses of contacts: which of them lead from where to
// where (a [Reach]), and how they travel.
package addressing

import (
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// MaxContactAddrs is how many addresses of a contact are kept and told.
const MaxContactAddrs = 8

// maxAddr is how long an address is that is told, in bytes, with its /p2p: a list
// costs its asker a few bytes.
const maxAddr = 128

// Reach is which addresses lead from one machine to another.
type Reach uint8

// The reaches, each with the addresses of those before it.
const (
	ReachPublic  Reach = iota // public addresses, and names that may stand for one
	ReachPrivate              // those of a private network too
	ReachLocal                // those of the machine itself too
)

// sharedRange is what providers have between them and their customers (RFC 6598).
var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

// ReachOf returns which addresses a node that is seen at ip can use, and which of
// those that it tells can lead to it. An invalid ip, which a relay hides, is a
// public one.
func ReachOf(ip netip.Addr) Reach {
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return ReachLocal
	case ip.IsPrivate(), ip.IsLinkLocalUnicast(), ip.IsUnspecified(), sharedRange.Contains(ip):
		return ReachPrivate
	default:
		return ReachPublic
	}
}

// Addrs returns those of addrs that are within reach, [MaxContactAddrs] at most.
func (r Reach) Addrs(addrs []ma.Multiaddr) []ma.Multiaddr {
	if r != ReachLocal {
		addrs = ma.FilterAddrs(addrs, func(a ma.Multiaddr) bool { return Needs(a) <= r })
	}
	return slices.Clip(addrs[:min(len(addrs), MaxContactAddrs)])
}

// Needs returns which reach an address takes, a relay's its own.
func Needs(a ma.Multiaddr) Reach {
	if ip, err := manet.ToIP(a); err == nil {
		at, _ := netip.AddrFromSlice(ip)
		return ReachOf(at)
	}
	if len(a) == 0 || manet.IsPublicAddr(a) {
		return ReachPublic
	}
	if (endpoints.Endpoint{Host: a[0].Value()}).IsLocal() {
		return ReachLocal
	}
	return ReachPrivate
}

// Endpoint returns an endpoint that is within reach, and nothing for another one.
// A name may stand for any address, but for those of the machine itself.
func (r Reach) Endpoint(endpoint string) string {
	e, err := endpoints.Parse(endpoint)
	if err != nil {
		return ""
	}
	ip, isIP := e.Addr()
	switch {
	case r == ReachLocal:
		return endpoint
	case e.IsLocal(), isIP && ReachOf(ip) > r:
		return ""
	}
	return endpoint
}

// EncodePeerAddrs returns a peer's multiaddrs as they travel: in binary, each with
// the /p2p component that names the peer. A peer without addresses still has
// its name.
func EncodePeerAddrs(p peer.ID, addrs []ma.Multiaddr) [][]byte {
	name, err := ma.NewComponent("p2p", p.String())
	if err != nil {
		return nil
	}
	if len(addrs) == 0 {
		return [][]byte{name.Multiaddr().Bytes()}
	}
	encoded := make([][]byte, 0, min(len(addrs), MaxContactAddrs))
	for _, a := range addrs {
		// Clipped, as a shared address may have room behind it that others write to as well.
		if b := slices.Clip(a).AppendComponent(name).Bytes(); len(b) <= maxAddr && len(encoded) < MaxContactAddrs {
			encoded = append(encoded, b)
		}
	}
	return encoded
}

// EncodeAddrs returns multiaddrs in binary, as they are.
func EncodeAddrs(addrs []ma.Multiaddr) [][]byte {
	encoded := make([][]byte, 0, min(len(addrs), MaxContactAddrs))
	for _, a := range addrs {
		if b := a.Bytes(); len(b) <= maxAddr && len(encoded) < MaxContactAddrs {
			encoded = append(encoded, b)
		}
	}
	return encoded
}

// DecodeAddr reads a multiaddr as it travels, in binary; text is understood too.
func DecodeAddr(b []byte) (ma.Multiaddr, error) {
	if len(b) > 0 && b[0] == '/' {
		return ma.NewMultiaddr(string(b))
	}
	return ma.NewMultiaddrBytes(b)
}

// AddrPortOf returns the IP address and the port of a multiaddr, whatever is on
// top of them; it is invalid where there are none, or a relay's.
func AddrPortOf(a ma.Multiaddr) netip.AddrPort {
	if _, err := a.ValueForProtocol(ma.P_CIRCUIT); err == nil {
		return netip.AddrPort{}
	}
	_, addr, err := manet.DialArgs(a)
	if err != nil {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.AddrPort{}
	}
	return ap
}

// IPOf returns the IP address that a multiaddr leads to first, which is a relay's where
// there is one on the way; invalid where it names none.
func IPOf(a ma.Multiaddr) netip.Addr {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// SeenIP returns the IP address by which whoever is at the other end of a connection is
// told apart from others: a relay's where he is behind one. A relay in a network of our own
// says nothing of who is behind it: all of these are at the unspecified address.
func SeenIP(remote ma.Multiaddr) netip.Addr {
	ip := IPOf(remote)
	if _, err := remote.ValueForProtocol(ma.P_CIRCUIT); err == nil && ReachOf(ip) != ReachPublic {
		return netip.IPv6Unspecified()
	}
	return ip
}

// PeerOf returns the libp2p peer that a node of a reply names by its addrs; its
// ID is empty where the node is an Erlang one. Addresses that are none, or that
// name another peer than the first, are left out.
func PeerOf(n wire.Node) peer.AddrInfo {
	var info peer.AddrInfo
	for _, b := range n.Addrs {
		a, err := DecodeAddr(b)
		if err != nil {
			continue
		}
		transport, id := peer.SplitAddr(a)
		if id == "" || info.ID != "" && id != info.ID {
			continue
		}
		info.ID = id
		if len(transport) > 0 {
			info.Addrs = append(info.Addrs, transport)
		}
	}
	return info
}
