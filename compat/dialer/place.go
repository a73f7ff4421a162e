package dialer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// place is where a link leads: to an endpoint, at the address at which it was
// verified or, where that is zero, at those of its name.
type place struct {
	wire.Endpoint
	verified netip.AddrPort
}

// placeOf returns where a contact is.
func placeOf(c routing.Contact) (place, error) {
	e, err := wire.ParseEndpoint(c.Endpoint)
	if err != nil || !c.IsErlang() || len(c.Addrs) == 0 {
		return place{Endpoint: e}, err
	}
	udp, _, err := quicreuse.FromQuicMultiaddr(c.Addrs[0])
	if err != nil {
		return place{}, fmt.Errorf("%w: address of %s: %w", wire.ErrBadEndpoint, e, err)
	}
	ap := udp.AddrPort()
	return place{e, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
}

// addresses returns where to dial.
func (p place) addresses(ctx context.Context, r Resolver) ([]netip.AddrPort, error) {
	if p.verified.IsValid() {
		return []netip.AddrPort{p.verified}, nil
	}
	return resolve(ctx, r, p.Endpoint)
}

// Resolver looks up the addresses of a host's name. A *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// mostAddresses is how many addresses of a name are dialled: whose name it is may
// have us dial whom it likes.
const mostAddresses = 16

// resolve returns the addresses of an endpoint's host, the address itself where
// the host is one. IPv4 comes first: Erlang nodes from 0.20.9 on listen on it
// alone.
func resolve(ctx context.Context, r Resolver, e wire.Endpoint) ([]netip.AddrPort, error) {
	if ip, ok := e.Addr(); ok {
		return []netip.AddrPort{netip.AddrPortFrom(ip, e.Port)}, nil
	}
	ips, err := r.LookupNetIP(ctx, "ip", e.Host)
	if err != nil {
		return nil, err
	}
	var addrs, six []netip.AddrPort
	for _, ip := range ips {
		addr := netip.AddrPortFrom(ip.Unmap().WithZone(""), e.Port)
		switch {
		case slices.Contains(addrs, addr) || slices.Contains(six, addr):
		case addr.Addr().Is4():
			addrs = append(addrs, addr)
		default:
			six = append(six, addr)
		}
	}
	addrs = append(addrs, six...)
	return addrs[:min(len(addrs), mostAddresses)], nil
}

// Multiaddr returns an address as libp2p writes it: /ip4/…/udp/…/quic-v1.
func Multiaddr(ap netip.AddrPort) (ma.Multiaddr, error) {
	family := "ip4"
	if ap.Addr().Is6() {
		family = "ip6"
	}
	return ma.NewMultiaddr(fmt.Sprintf("/%s/%s/udp/%d/quic-v1", family, ap.Addr(), ap.Port()))
}
