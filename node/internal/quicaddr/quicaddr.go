// Package quicaddr reads and writes where a node listens and is reached: multiaddrs of
// plain QUIC, endpoints of Erlang nodes, and the hostname that an operator gives.
package quicaddr

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// Any returns every IPv4 and IPv6 address of this machine on a port.
// A machine without IPv6 can use them too: libp2p fails only if it can listen on none of its addresses.
func Any(port uint16) []ma.Multiaddr {
	return []ma.Multiaddr{
		ma.StringCast(fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port)),
		ma.StringCast(fmt.Sprintf("/ip6/::/udp/%d/quic-v1", port)),
	}
}

// BeyondLoopback reports whether others than this machine can be on an address that is listened on. Only then is
// the router asked to forward the port: it is sought by multicast.
func BeyondLoopback(addrs []ma.Multiaddr) bool {
	return slices.ContainsFunc(addrs, func(addr ma.Multiaddr) bool { return !manet.IsIPLoopback(addr) })
}

// ParseListen takes a multiaddr of the form /ip4/…/udp/…/quic-v1 or /ip6/…/udp/…/quic-v1, and nothing else.
func ParseListen(s string) (ma.Multiaddr, error) {
	addr, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a multiaddress: write for example %s: %w", s, Any(endpoints.DefaultPort)[0], err)
	}
	if _, ok := AddrPort(addr); !ok {
		return nil, fmt.Errorf("%s is not a QUIC address: write %s", addr, quicInsteadOf(addr))
	}
	return addr, nil
}

// quicInsteadOf returns the address to listen on that someone who wrote addr may have meant.
func quicInsteadOf(addr ma.Multiaddr) string {
	ip, err := manet.ToIP(addr)
	if err != nil {
		return Any(endpoints.DefaultPort)[0].String()
	}
	family := "ip4"
	if ip.To4() == nil {
		family = "ip6"
	}
	port := strconv.Itoa(endpoints.DefaultPort)
	for _, transport := range []int{ma.P_TCP, ma.P_UDP} {
		if p, err := addr.ValueForProtocol(transport); err == nil {
			port = p
		}
	}
	return fmt.Sprintf("/%s/%s/udp/%s/quic-v1", family, ip, port)
}

// AddrPort returns the IP address and the UDP port of a plain QUIC address.
// What leads elsewhere is none: a relayed address, WebTransport, an address with a zone or with a peer id.
func AddrPort(addr ma.Multiaddr) (netip.AddrPort, bool) {
	if len(addr) != 3 || addr[2].Code() != ma.P_QUIC_V1 {
		return netip.AddrPort{}, false
	}
	udp, _, err := quicreuse.FromQuicMultiaddr(addr)
	if err != nil {
		return netip.AddrPort{}, false
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}

// Endpoints writes addrs as Erlang nodes do, https://host:port, the widest reachable first: public, then private, then
// loopback, and IPv4 before IPv6. Wildcards and whatever is not plain QUIC are left out.
func Endpoints(addrs []ma.Multiaddr) []string {
	var dialable []ma.Multiaddr
	for _, addr := range addrs {
		if ap, ok := AddrPort(addr); ok && isConcrete(ap) {
			dialable = append(dialable, addr)
		}
	}
	slices.SortStableFunc(dialable, func(a, b ma.Multiaddr) int { return cmp.Compare(distance(a), distance(b)) })

	var texts []string
	for _, addr := range dialable {
		ap, _ := AddrPort(addr)
		if text := endpoints.At(ap).String(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// Local returns where other programs of this machine reach what listens on addrs, each once and loopback first: all
// addresses of a family are its loopback address.
func Local(addrs []ma.Multiaddr) []netip.AddrPort {
	var local []netip.AddrPort
	for _, addr := range addrs {
		ap, ok := AddrPort(addr)
		if !ok {
			continue
		}
		if ip := ap.Addr(); ip.IsUnspecified() {
			loopback := netip.IPv6Loopback()
			if ip.Is4() {
				loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			}
			ap = netip.AddrPortFrom(loopback, ap.Port())
		}
		if !slices.Contains(local, ap) {
			local = append(local, ap)
		}
	}
	rank := func(ap netip.AddrPort) int {
		rank := 0
		if !ap.Addr().IsLoopback() {
			rank = 2
		}
		if ap.Addr().Is6() {
			rank++
		}
		return rank
	}
	slices.SortStableFunc(local, func(a, b netip.AddrPort) int { return cmp.Compare(rank(a), rank(b)) })
	return local
}

// isConcrete reports whether someone else could dial ap. IPv6's link-local addresses need a zone that only we know.
func isConcrete(ap netip.AddrPort) bool {
	ip := ap.Addr()
	return ap.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() && !(ip.Is6() && ip.IsLinkLocalUnicast())
}

// distance ranks a plain QUIC address: the less, the more of the world can reach it.
func distance(addr ma.Multiaddr) int {
	ap, _ := AddrPort(addr)
	rank := 2
	switch {
	case manet.IsPublicAddr(addr):
		rank = 0
	case ap.Addr().IsLoopback():
		rank = 4
	}
	if ap.Addr().Is6() {
		rank++
	}
	return rank
}

// Multiaddrs returns the multiaddrs, with /p2p, of a peer that listens there.
func Multiaddrs(at []netip.AddrPort, id peer.ID) (addrs []ma.Multiaddr) {
	for _, ap := range at {
		family := "ip6"
		if ap.Addr().Is4() {
			family = "ip4"
		}
		addrs = append(addrs, ma.StringCast(fmt.Sprintf("/%s/%s/udp/%d/quic-v1/p2p/%s", family, ap.Addr(), ap.Port(), id)))
	}
	return addrs
}
