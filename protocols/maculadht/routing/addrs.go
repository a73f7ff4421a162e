package routing

import (
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/wire"
)

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
	encoded := make([][]byte, 0, min(len(addrs), wire.MaxAddrs))
	for _, a := range addrs {
		// Clipped, as a shared address may have room behind it that others write to as well.
		if b := slices.Clip(a).AppendComponent(name).Bytes(); len(b) <= wire.MaxField && len(encoded) < wire.MaxAddrs {
			encoded = append(encoded, b)
		}
	}
	return encoded
}

// EncodeAddrs returns multiaddrs in binary, as they are.
func EncodeAddrs(addrs []ma.Multiaddr) [][]byte {
	encoded := make([][]byte, 0, min(len(addrs), wire.MaxAddrs))
	for _, a := range addrs {
		if b := a.Bytes(); len(b) <= wire.MaxField && len(encoded) < wire.MaxAddrs {
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
