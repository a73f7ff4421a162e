package maculadht

import (
	"net"
	"net/netip"
	"net/url"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// encodeAddrs returns a peer's multiaddrs as they travel: in binary, each with
// the /p2p component that names the peer. A peer without addresses still has
// its name.
func encodeAddrs(p peer.ID, addrs []ma.Multiaddr) [][]byte {
	name, err := ma.NewComponent("p2p", p.String())
	if err != nil {
		return nil
	}
	if len(addrs) == 0 {
		return [][]byte{name.Multiaddr().Bytes()}
	}
	encoded := make([][]byte, 0, min(len(addrs), wire.MaxAddrs))
	for _, a := range addrs {
		// Clipped, as a shared address may have room behind it that others write to as well.
		if b := slices.Clip(a).AppendComponent(name).Bytes(); len(b) <= wire.MaxField && len(encoded) < wire.MaxAddrs {
			encoded = append(encoded, b)
		}
	}
	return encoded
}

// isAt reports whether an endpoint has the IP address of a multiaddr.
func isAt(endpoint string, seenAt ma.Multiaddr) bool {
	u, err := url.Parse(endpoint)
	if err != nil || seenAt == nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Unmap() == addrPortOf(seenAt).Addr().Unmap()
}

// learnt returns the addresses that a peer tells of itself, without those that
// can not lead to it: a peer seen at a public address is not in our own network.
func learnt(addrs []ma.Multiaddr, seenAt ma.Multiaddr) []ma.Multiaddr {
	if seenAt == nil || !manet.IsPublicAddr(seenAt) {
		return addrs
	}
	return ma.FilterAddrs(addrs, manet.IsPublicAddr)
}

// learntEndpoint returns the endpoint that a peer tells of itself, or nothing where
// that can not lead to it, as behind a NAT: Erlang nodes are told of it, and dial
// what they are told.
func learntEndpoint(endpoint string, seenAt ma.Multiaddr) string {
	u, err := url.Parse(endpoint)
	if err != nil || seenAt == nil {
		return endpoint
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return endpoint // a name
	}
	at, err := manet.FromIP(net.IP(ip.WithZone("").AsSlice()))
	switch {
	case err != nil,
		manet.IsPublicAddr(seenAt) && !manet.IsPublicAddr(at),
		ip.Unmap().IsLoopback() && !manet.IsIPLoopback(seenAt):
		return ""
	}
	return endpoint
}

// encodeBare returns multiaddrs in binary, as they are.
func encodeBare(addrs []ma.Multiaddr) [][]byte {
	encoded := make([][]byte, 0, min(len(addrs), wire.MaxAddrs))
	for _, a := range addrs {
		if b := a.Bytes(); len(b) <= wire.MaxField && len(encoded) < wire.MaxAddrs {
			encoded = append(encoded, b)
		}
	}
	return encoded
}

// addrPortOf returns the IP address and the port of a multiaddr, whatever is on
// top of them; it is invalid where there are none, or a relay's.
func addrPortOf(a ma.Multiaddr) netip.AddrPort {
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
