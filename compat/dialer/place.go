package dialer

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// place is where a link leads: to an endpoint, at the address at which it was
// verified or, where that is zero, at those of its name.
type place struct {
	endpoints.Endpoint
	verified netip.AddrPort
}

// placeOf returns where a contact is.
func placeOf(c routing.Contact) (place, error) {
	e, err := endpoints.Parse(c.Endpoint)
	if err != nil || !c.IsErlang() || len(c.Addrs) == 0 {
		return place{Endpoint: e}, err
	}
	udp, _, err := quicreuse.FromQuicMultiaddr(c.Addrs[0])
	if err != nil {
		return place{}, fmt.Errorf("%w: address of %s: %w", endpoints.ErrBad, e, err)
	}
	ap := udp.AddrPort()
	return place{e, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
}

// addresses returns where to dial.
func (p place) addresses(ctx context.Context, r pace.Resolver) ([]netip.AddrPort, error) {
	if p.verified.IsValid() {
		return []netip.AddrPort{p.verified}, nil
	}
	return pace.Resolve(ctx, r, p.Endpoint)
}

// Multiaddr returns an address as libp2p writes it: /ip4/…/udp/…/quic-v1.
func Multiaddr(ap netip.AddrPort) (ma.Multiaddr, error) {
	family := "ip4"
	if ap.Addr().Is6() {
		family = "ip6"
	}
	return ma.NewMultiaddr(fmt.Sprintf("/%s/%s/udp/%d/quic-v1", family, ap.Addr(), ap.Port()))
}
