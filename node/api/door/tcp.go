package door

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Address is where the local API is reached over TCP.
type Address struct {
	Host string // a name or an address
	Port string
}

// ParseAddress reads HOST:PORT. The port may be 0, for any that is free; the host empty, for
// all addresses of this machine.
func ParseAddress(text string) (Address, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, fmt.Errorf("the local API's address %q is not HOST:PORT, such as 127.0.0.1:9480", text)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return Address{}, fmt.Errorf("the local API's address %q: the port %q is none of 0 to 65535", text, port)
	}
	return Address{strings.ToLower(host), port}, nil
}

// Loopback reports whether this machine alone reaches the address.
func (a Address) Loopback() bool { return isLoopback(a.Host) }

func (a Address) String() string { return net.JoinHostPort(a.Host, a.Port) }

// isLoopback reports whether a host of an address, or of a request, is this machine itself,
// whoever says it: no name server is asked.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// ListenTCP listens on an address.
func ListenTCP(a Address) (net.Listener, error) {
	l, err := net.Listen("tcp", a.String())
	if err != nil {
		return nil, fmt.Errorf("listen for the local API on %s: %w", a, err)
	}
	return l, nil
}
