package compat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	ma "github.com/multiformats/go-multiaddr"
)

// DefaultPort is the UDP port of an endpoint that names none.
const DefaultPort = 9443

// ErrBadEndpoint: a text is not an endpoint.
var ErrBadEndpoint = errors.New("not an endpoint")

// Endpoint is where an Erlang node listens: "https://host:port". As ParseEndpoint
// writes them, two that are equal but for their spelling are equal.
type Endpoint struct {
	Host string // a name in lower case or an IP address, without brackets
	Port uint16
}

// ParseEndpoint reads "https://host:port"; without a port it is DefaultPort. An
// IPv6 address stands in brackets. The error is an ErrBadEndpoint.
func ParseEndpoint(text string) (Endpoint, error) {
	bad := func(why string) (Endpoint, error) {
		return Endpoint{}, fmt.Errorf("%w: %q %s: write https://host:port", ErrBadEndpoint, text, why)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("can not be read")
	case u.Scheme != "https":
		return bad("does not begin with https://")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return bad("has more than a host and a port")
	}
	e := Endpoint{Host: strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), Port: DefaultPort}
	switch ip, err := netip.ParseAddr(e.Host); {
	case e.Host == "":
		return bad("has no host")
	case err == nil && ip.Zone() != "":
		return bad("has a zone, which means nothing to others")
	case err == nil:
		e.Host = ip.Unmap().String()
	}
	if p := u.Port(); p != "" {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil || port == 0 {
			return bad("has no port from 1 to 65535")
		}
		e.Port = uint16(port)
	}
	return e, nil
}

// String returns the endpoint as it travels.
func (e Endpoint) String() string {
	return "https://" + net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// resolve returns the addresses of the endpoint's host, the address itself
// where the host is one.
func (e Endpoint) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(e.Host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), e.Port)}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", e.Host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip.Unmap().WithZone(""), e.Port)
	}
	return addrs, nil
}

// quicMultiaddr returns the address as libp2p writes it.
func quicMultiaddr(ap netip.AddrPort) (ma.Multiaddr, error) {
	family := "ip4"
	if ap.Addr().Is6() {
		family = "ip6"
	}
	return ma.NewMultiaddr(fmt.Sprintf("/%s/%s/udp/%d/quic-v1", family, ap.Addr(), ap.Port()))
}
