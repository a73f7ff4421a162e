package quicaddr

import (
	"errors"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// ParsePeer reads the multiaddr, with /p2p, of a peer that may be reached: by QUIC,
// which is all that a node speaks, through a relay, or where a /dnsaddr says.
func ParsePeer(text string) (*peer.AddrInfo, error) {
	info, err := peer.AddrInfoFromString(text)
	switch {
	case errors.Is(err, peer.ErrInvalidAddr):
		return nil, fmt.Errorf("%q does not say who is there: add /p2p/ and the peer id, as in what run prints, or write https://host:port", text)
	case err != nil:
		return nil, fmt.Errorf("%q is not a multiaddr with /p2p, nor https://host:port: %w", text, err)
	case len(info.Addrs) == 0:
		return nil, fmt.Errorf("%q does not say where the peer is: write for example /ip4/192.0.2.7/udp/9443/quic-v1/p2p/%s", text, info.ID)
	case !slices.ContainsFunc(info.Addrs, mayReach):
		return nil, fmt.Errorf("%q is not a QUIC address: write for example /ip4/192.0.2.7/udp/9443/quic-v1/p2p/%s", text, info.ID)
	}
	return info, nil
}

// mayReach reports whether a host with QUIC alone may reach an address.
func mayReach(addr ma.Multiaddr) bool {
	relay, _ := ma.SplitFunc(addr, func(c ma.Component) bool { return c.Code() == ma.P_CIRCUIT })
	relayed := len(relay) < len(addr)
	var codes []int // of the way to the peer, or to its relay
	for _, c := range relay {
		if c.Code() == ma.P_UDP && c.Value() == "0" {
			return false
		}
		if c.Code() != ma.P_P2P && c.Code() != ma.P_IP6ZONE {
			codes = append(codes, c.Code())
		}
	}
	switch {
	case len(codes) == 0:
		return relayed // where the relay is others may know
	case len(codes) == 1:
		return codes[0] == ma.P_DNSADDR
	}
	hosts := []int{ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6}
	return len(codes) == 3 && slices.Contains(hosts, codes[0]) && codes[1] == ma.P_UDP && codes[2] == ma.P_QUIC_V1
}
