package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
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
	Pin  Pin // of the key that it must have, as an operator wrote it; it does not travel
}

// ParseEndpoint reads "https://host:port" as an operator writes it; without a
// port it is DefaultPort. An IPv6 address stands in brackets. A Pin may follow:
// "#sha256=" and 64 hexadecimal digits. The error is an ErrBadEndpoint.
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
	case u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/":
		return bad("has more than a host and a port")
	}
	e := Endpoint{Host: strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), Port: DefaultPort}
	if u.Fragment != "" {
		var ok bool
		if e.Pin, ok = parsePin(u.Fragment); !ok {
			return bad("has behind # no pin, sha256= and 64 hexadecimal digits")
		}
	}
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

// EndpointOf returns where a list of gateways says that one is. The error is an
// ErrBadEndpoint.
func EndpointOf(g wire.Gateway) (Endpoint, error) {
	return ParseContact("https://" + net.JoinHostPort(g.Host, strconv.FormatInt(g.Port, 10)))
}

// errTheirPin: a peer may not say by which key another is known.
var errTheirPin = errors.New("has a pin, which is for DialPinned and not for a contact")

// ParseContact reads the endpoint of a contact, which may be a peer's words.
func ParseContact(text string) (Endpoint, error) {
	e, err := ParseEndpoint(text)
	if err == nil && !e.Pin.IsZero() {
		return Endpoint{}, fmt.Errorf("%w: %q %w", ErrBadEndpoint, text, errTheirPin)
	}
	return e, err
}

// Unpinned returns the endpoint without its Pin: the host and the port alone.
func (e Endpoint) Unpinned() Endpoint {
	e.Pin = Pin{}
	return e
}

// String returns the endpoint as it travels, without its Pin.
func (e Endpoint) String() string {
	return "https://" + net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// place is where a link leads: to an endpoint, at the address at which it was
// verified or, where that is zero, at those of its name.
type place struct {
	Endpoint
	verified netip.AddrPort
}

// placeOf returns where a contact is.
func placeOf(c routing.Contact) (place, error) {
	e, err := ParseContact(c.Endpoint)
	if err != nil || !c.IsErlang() || len(c.Addrs) == 0 {
		return place{Endpoint: e}, err
	}
	udp, _, err := quicreuse.FromQuicMultiaddr(c.Addrs[0])
	if err != nil {
		return place{}, fmt.Errorf("%w: address of %s: %w", ErrBadEndpoint, e, err)
	}
	ap := udp.AddrPort()
	return place{e, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
}

// addresses returns where to dial.
func (p place) addresses(ctx context.Context) ([]netip.AddrPort, error) {
	if p.verified.IsValid() {
		return []netip.AddrPort{p.verified}, nil
	}
	return p.resolve(ctx)
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
