package pace

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// names is a Resolver of some names.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) (ips []netip.Addr, err error) {
	for _, text := range n[host] {
		ips = append(ips, netip.MustParseAddr(text))
	}
	if len(ips) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips, err
}

// Erlang nodes from 0.20.9 on listen on IPv4 alone.
func TestAddressesInOrder(t *testing.T) {
	r := names{"gw": {"::1", "127.0.0.1", "2001:db8::1", "::ffff:127.0.0.1", "127.0.0.2"}}
	addrs, err := Resolve(t.Context(), r, endpoints.Endpoint{Host: "gw", Port: 1})
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.2:1"),
		netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[2001:db8::1]:1"),
	}, addrs, "IPv4 first, each once")
	_, err = Resolve(t.Context(), r, endpoints.Endpoint{Host: "elsewhere", Port: 1})
	require.ErrorContains(t, err, "no such host")
}
