package quicaddr

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// Announced is an address by which others reach this node.
type Announced struct {
	Addr ma.Multiaddr
	As   peer.ID // that it is written with; empty for none
}

// ParseAnnounced reads /ip4, /ip6, /dns, /dns4 or /dns6, then /udp/PORT/quic-v1, and nothing else but the peer id, as the
// node prints it.
func ParseAnnounced(s string) (a Announced, err error) {
	const example = "write for example /ip4/203.0.113.7/udp/9443/quic-v1 or /dns4/node.example.org/udp/9443/quic-v1"
	if a.Addr, err = ma.NewMultiaddr(s); err != nil {
		return a, fmt.Errorf("announced address: %q is not a multiaddress: %s: %w", s, example, err)
	}
	if last := len(a.Addr) - 1; last >= 0 && a.Addr[last].Code() == ma.P_P2P {
		a.Addr, a.As = peer.SplitAddr(a.Addr)
	}
	if _, ok := a.Endpoint(); !ok {
		return a, fmt.Errorf("announced address: %s is no address that others could dial by QUIC: %s", s, example)
	}
	return a, nil
}

// CheckOwn refuses addresses that are written with the peer id of another key.
func CheckOwn(all []Announced, key crypto.PrivKey) error {
	for _, a := range all {
		if a.As != "" && !a.As.MatchesPrivateKey(key) {
			return fmt.Errorf("announced address: %s/p2p/%s is of another node: write it without /p2p", a.Addr, a.As)
		}
	}
	return nil
}

// Addrs returns the addresses alone.
func Addrs(all []Announced) (addrs []ma.Multiaddr) {
	for _, a := range all {
		addrs = append(addrs, a.Addr)
	}
	return addrs
}

// Endpoint returns the endpoint that the address is to Erlang nodes.
func (a Announced) Endpoint() (text string, ok bool) {
	addr := a.Addr
	if ap, plain := AddrPort(addr); plain {
		if !isConcrete(ap) {
			return "", false
		}
		return endpoints.At(ap).String(), true
	}
	if len(addr) != 3 || addr[1].Code() != ma.P_UDP || addr[2].Code() != ma.P_QUIC_V1 ||
		!slices.Contains([]int{ma.P_DNS, ma.P_DNS4, ma.P_DNS6}, addr[0].Code()) {
		return "", false
	}
	port, err := strconv.ParseUint(addr[1].Value(), 10, 16)
	if err != nil {
		return "", false
	}
	text, err = HostnameEndpoint(addr[0].Value(), int(port))
	return text, err == nil
}
