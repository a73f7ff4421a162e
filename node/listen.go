package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/internal/conns"
)

// defaultPort is the UDP port of Macula: one for libp2p peers and for Erlang nodes.
const defaultPort = endpoints.DefaultPort

// anyAddrs returns every IPv4 and IPv6 address of this machine on a port.
// A machine without IPv6 can use them too: libp2p fails only if it can listen on none of its addresses.
func anyAddrs(port uint16) []ma.Multiaddr {
	return []ma.Multiaddr{
		ma.StringCast(fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port)),
		ma.StringCast(fmt.Sprintf("/ip6/::/udp/%d/quic-v1", port)),
	}
}

// anyBeyondLoopback reports whether others than this machine can be on an address that is listened on. Only then is
// the router asked to forward the port: it is sought by multicast.
func anyBeyondLoopback(addrs []ma.Multiaddr) bool {
	return slices.ContainsFunc(addrs, func(addr ma.Multiaddr) bool { return !manet.IsIPLoopback(addr) })
}

// parseListenAddr takes a multiaddr of the form /ip4/…/udp/…/quic-v1 or /ip6/…/udp/…/quic-v1, and nothing else.
func parseListenAddr(s string) (ma.Multiaddr, error) {
	addr, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a multiaddress: write for example %s: %w", s, anyAddrs(defaultPort)[0], err)
	}
	if _, ok := quicAddrPort(addr); !ok {
		return nil, fmt.Errorf("%s is not a QUIC address: write %s", addr, quicInsteadOf(addr))
	}
	return addr, nil
}

// quicInsteadOf returns the address to listen on that someone who wrote addr may have meant.
func quicInsteadOf(addr ma.Multiaddr) string {
	ip, err := manet.ToIP(addr)
	if err != nil {
		return anyAddrs(defaultPort)[0].String()
	}
	family := "ip4"
	if ip.To4() == nil {
		family = "ip6"
	}
	port := strconv.Itoa(defaultPort)
	for _, transport := range []int{ma.P_TCP, ma.P_UDP} {
		if p, err := addr.ValueForProtocol(transport); err == nil {
			port = p
		}
	}
	return fmt.Sprintf("/%s/%s/udp/%s/quic-v1", family, ip, port)
}

// quicAddrPort returns the IP address and the UDP port of a plain QUIC address.
// What leads elsewhere is none: a relayed address, WebTransport, an address with a zone or with a peer id.
func quicAddrPort(addr ma.Multiaddr) (netip.AddrPort, bool) {
	if len(addr) != 3 || addr[2].Code() != ma.P_QUIC_V1 {
		return netip.AddrPort{}, false
	}
	udp, _, err := quicreuse.FromQuicMultiaddr(addr)
	if err != nil {
		return netip.AddrPort{}, false
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}

// maculaListeners returns what listens for ALPN "macula", once for every UDP port where h listens for libp2p.
// Close the listeners when h is about to be closed and not before: quicreuse stops accepting on the whole port, libp2p
// included, when a connection that was shaking hands for a listener finds it gone.
func maculaListeners(cm *quicreuse.ConnManager, h host.Host, gater connmgr.ConnectionGater, tlsConf *tls.Config) (all []func() (gateway.Listener, error)) {
	for _, addr := range h.Network().ListenAddresses() {
		if _, ok := quicAddrPort(addr); !ok {
			continue
		}
		all = append(all, func() (gateway.Listener, error) {
			ln, err := cm.ListenQUIC(addr, tlsConf, allowWindowIncrease)
			if err != nil {
				return nil, fmt.Errorf("listen for ALPN %q on %s (one gateway a host: is another one running?): %w", dialer.ALPN, addr, err)
			}
			return maculaListener{ln, gater}, nil
		})
	}
	return all
}

// maculaListener accepts connections for ALPN "macula", which count in the host's resource manager, and pass its gater: by
// their addresses, as an Erlang node proves no identity.
type maculaListener struct {
	quicreuse.Listener
	gater connmgr.ConnectionGater // nil: none
}

// Accept returns the next connection that is not kept away, and that there is room for.
func (l maculaListener) Accept(ctx context.Context) (*quic.Conn, error) {
	for {
		conn, err := l.Listener.Accept(ctx)
		if err != nil {
			return nil, err
		}
		if l.gater != nil && !l.gater.InterceptAccept(connAddrs{conn}) {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnGated), "connection gated")
			continue
		}
		if conns.Settle(conn) != nil {
			continue
		}
		return conn, nil
	}
}

// connAddrs are the addresses of a connection, as a gater is asked for them.
type connAddrs struct{ *quic.Conn }

// LocalMultiaddr implements network.ConnMultiaddrs.
func (c connAddrs) LocalMultiaddr() ma.Multiaddr { return multiaddrOf(c.LocalAddr()) }

// RemoteMultiaddr implements network.ConnMultiaddrs.
func (c connAddrs) RemoteMultiaddr() ma.Multiaddr { return multiaddrOf(c.RemoteAddr()) }

func multiaddrOf(addr net.Addr) ma.Multiaddr {
	of, _ := quicreuse.ToQuicMultiaddr(addr, quic.Version1) // a UDP address always has one
	return of
}

// allowWindowIncrease lets quic-go buffer delta more bytes for a connection if the resource manager has the memory.
func allowWindowIncrease(conn *quic.Conn, delta uint64) bool {
	scope, err := network.UnwrapConnManagementScope(conn.Context())
	if err != nil {
		return true // not counted: nobody to ask
	}
	return scope.ReserveMemory(int(delta), network.ReservationPriorityMedium) == nil
}

// endpointsAt writes addrs as Erlang nodes do, https://host:port, the widest reachable first: public, then private, then
// loopback, and IPv4 before IPv6. Wildcards and whatever is not plain QUIC are left out.
func endpointsAt(addrs []ma.Multiaddr) []string {
	var dialable []ma.Multiaddr
	for _, addr := range addrs {
		if ap, ok := quicAddrPort(addr); ok && isConcrete(ap) {
			dialable = append(dialable, addr)
		}
	}
	slices.SortStableFunc(dialable, func(a, b ma.Multiaddr) int { return cmp.Compare(distance(a), distance(b)) })

	var texts []string
	for _, addr := range dialable {
		ap, _ := quicAddrPort(addr)
		if text := endpoints.At(ap).String(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// isConcrete reports whether someone else could dial ap. IPv6's link-local addresses need a zone that only we know.
func isConcrete(ap netip.AddrPort) bool {
	ip := ap.Addr()
	return ap.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() && !(ip.Is6() && ip.IsLinkLocalUnicast())
}

// distance ranks a plain QUIC address: the less, the more of the world can reach it.
func distance(addr ma.Multiaddr) int {
	ap, _ := quicAddrPort(addr)
	rank := 2
	switch {
	case manet.IsPublicAddr(addr):
		rank = 0
	case ap.Addr().IsLoopback():
		rank = 4
	}
	if ap.Addr().Is6() {
		rank++
	}
	return rank
}

// bestEndpoint returns the endpoint by which Erlang nodes are told to reach us: the configured hostname; else a public
// address that others have confirmed; else the best of addrs, the addresses of our interfaces; else "".
func bestEndpoint(hostname string, port int, confirmed, addrs []ma.Multiaddr) (string, error) {
	if hostname != "" {
		return hostnameEndpoint(hostname, port)
	}
	public := slices.DeleteFunc(slices.Clone(confirmed), func(a ma.Multiaddr) bool { return !manet.IsPublicAddr(a) })
	if best := append(endpointsAt(public), endpointsAt(addrs)...); len(best) > 0 {
		return best[0], nil
	}
	return "", nil
}

// hostnameEndpoint returns the endpoint for a hostname as an operator writes it: a DNS name or an IP address, with a
// port of its own or else with the one given.
func hostnameEndpoint(hostname string, port int) (string, error) {
	name, port, err := splitHostname(hostname, port)
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return "", fmt.Errorf("hostname %q %w", hostname, err)
	}
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("hostname %q has the port %d: write a number between 1 and 65535", hostname, port)
	}
	endpoint := endpoints.Endpoint{Host: name, Port: uint16(port)}.String()
	if len(endpoint) > wire.MaxField {
		return "", fmt.Errorf("hostname %q makes an endpoint of %d bytes, and peers take at most %d: use a shorter name", hostname, len(endpoint), wire.MaxField)
	}
	e, err := endpoints.Parse(endpoint) // as others will read it
	if err != nil {
		return "", fmt.Errorf("hostname %q: %w", hostname, err)
	}
	return e.String(), nil
}

// splitHostname returns the host in a hostname, and the port in it or else the one given.
// Its errors, like those of checkName, go on from "hostname …".
func splitHostname(hostname string, port int) (string, int, error) {
	if strings.Contains(hostname, "/") {
		return "", 0, errors.New("is not a host: write the host alone, without https:// and without a path")
	}
	if bare, ok := strings.CutPrefix(hostname, "["); ok && strings.HasSuffix(bare, "]") {
		return strings.TrimSuffix(bare, "]"), port, nil
	}
	if _, err := netip.ParseAddr(hostname); err == nil || !strings.Contains(hostname, ":") {
		return hostname, port, nil // the colons of an IPv6 address are its own
	}
	name, text, err := net.SplitHostPort(hostname)
	if err != nil {
		return "", 0, fmt.Errorf("can not be read: write host or host:port, and an IPv6 address with a port as [2001:db8::1]:9443: %w", err)
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return "", 0, fmt.Errorf("has the port %q: write a number between 1 and 65535", text)
	}
	return name, port, nil
}

// checkName refuses what nobody could dial.
func checkName(name string) error {
	ip, err := netip.ParseAddr(name)
	switch {
	case err == nil && ip.Unmap().IsUnspecified():
		return errors.New("is a wildcard, which nobody can dial: write this machine's own name or address")
	case err == nil && ip.Zone() != "":
		return errors.New("has a zone, which means nothing on another machine: write an address without it")
	case err == nil:
		return nil
	case !isDNSName(name):
		return errors.New("is neither a DNS name nor an IP address: write for example node.example.org")
	}
	return nil
}

// isLoopbackName reports whether a hostname, as an operator writes it, means each machine itself.
func isLoopbackName(hostname string) bool {
	name, _, err := splitHostname(hostname, 0)
	if err != nil || hostname == "" {
		return false
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().IsLoopback()
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || name == "localhost.localdomain" || strings.HasSuffix(name, ".localhost")
}

// dnsLabel is one part of a DNS name. Underscores, no part of the standard, are common in container networks.
var dnsLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// isDNSName reports whether name is made of labels, and is not all numbers as a mistyped IPv4 address would be.
func isDNSName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !dnsLabel.MatchString(label) {
			return false
		}
	}
	return strings.Trim(name, "0123456789.") != ""
}
