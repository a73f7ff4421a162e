package endpoints

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
)

// DefaultPort is the UDP port of an endpoint that names none.
const DefaultPort = 9443

// ErrBad: a text is not an endpoint.
var ErrBad = errors.New("not an endpoint")

// Endpoint is where a node listens for ALPN "macula", "https://host:port" on the
// wire. As Parse and At write them, two that are equal but for
// their spelling are equal. The zero Endpoint is none.
type Endpoint struct {
	Host string // a name in lower case or an IP address, without brackets
	Port uint16
}

// Parse reads "https://host:port", as an operator or a peer writes it, in
// at most 255 bytes; without a port it is DefaultPort. An IPv6 address stands
// in brackets, and without a zone. The error is an ErrBad.
func Parse(text string) (Endpoint, error) {
	bad := func(why string) (Endpoint, error) {
		return Endpoint{}, fmt.Errorf("%w: %.*q %s: write https://host:port", ErrBad, fields.MaxField, text, why)
	}
	if len(text) > fields.MaxField {
		return bad(fmt.Sprintf("… has %d bytes, and %d is the most", len(text), fields.MaxField))
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("can not be read")
	case u.Scheme != "https":
		return bad("does not begin with https://")
	case strings.Contains(text, "#"):
		return bad("has more behind a #, where only an operator writes a pin")
	case u.User != nil || strings.Contains(text, "?") || u.Path != "" && u.Path != "/":
		return bad("has more than a host and a port")
	}
	e := Endpoint{Host: strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), Port: DefaultPort}
	switch ip, isIP := e.addr(); {
	case e.Host == "":
		return bad("has no host")
	case isIP && ip.Zone() != "":
		return bad("has a zone, which means nothing to others")
	case isIP:
		e.Host = ip.Unmap().String()
	case !IsHost(e.Host) || strings.HasSuffix(e.Host, "."):
		return bad("has a host that is neither a DNS name nor an IP address")
	}
	if p := u.Port(); p != "" {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil || port == 0 {
			return bad("has no port from 1 to 65535")
		}
		e.Port = uint16(port)
	}
	if n := len(e.String()); n > fields.MaxField {
		return bad(fmt.Sprintf("has %d bytes with its port, and %d is the most", n, fields.MaxField))
	}
	return e, nil
}

// At returns the endpoint of a node at an address.
func At(ap netip.AddrPort) Endpoint {
	return Endpoint{Host: ap.Addr().Unmap().WithZone("").String(), Port: ap.Port()}
}

// String returns the endpoint as it travels, "https://host:port".
func (e Endpoint) String() string { return "https://" + e.HostPort() }

// HostPort returns "host:port", with an IPv6 address in brackets.
func (e Endpoint) HostPort() string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// Addr returns the host where it is an IP address, and whether it is.
func (e Endpoint) Addr() (netip.Addr, bool) {
	ip, ok := e.addr()
	return ip.Unmap(), ok
}

// IsLocal reports whether the host is the machine itself wherever it is looked up: a
// loopback address, or a name that stands for one.
func (e Endpoint) IsLocal() bool {
	if ip, ok := e.Addr(); ok {
		return ip.IsLoopback()
	}
	switch name := strings.ToLower(strings.TrimSuffix(e.Host, ".")); name {
	case "localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4",
		"localhost6", "localhost6.localdomain6", "ip6-localhost", "ip6-loopback":
		return true
	default:
		return strings.HasSuffix(name, ".localhost")
	}
}

func (e Endpoint) addr() (netip.Addr, bool) {
	ip, err := netip.ParseAddr(e.Host)
	return ip, err == nil
}

// IsHost reports whether a text can be a host: an IP address or a DNS name.
func IsHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, c := range []byte(host) {
		letter, digit := c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9'
		if !letter && !digit && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return host != "" && len(host) <= 253
}
