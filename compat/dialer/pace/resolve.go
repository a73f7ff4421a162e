package pace

import (
	"context"
	"net/netip"
	"slices"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// Resolver looks up the addresses of a host's name. A *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// mostAddresses is how many addresses of a name are dialled: whose name it is may
// have us dial whom it likes.
const mostAddresses = 16

// Resolve returns the addresses of an endpoint's host, the address itself where
// the host is one. IPv4 comes first: Erlang nodes from 0.20.9 on listen on it
// alone.
func Resolve(ctx context.Context, r Resolver, e endpoints.Endpoint) ([]netip.AddrPort, error) {
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
