package quicaddr

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// BestEndpoint returns the endpoint by which Erlang nodes are told to reach us: the configured hostname; else the first
// address that is announced; else a public address that others have confirmed; else the best of addrs, the addresses of
// our interfaces; else "".
func BestEndpoint(hostname string, port int, announced []Announced, confirmed, addrs []ma.Multiaddr) (string, error) {
	if hostname != "" {
		return HostnameEndpoint(hostname, port)
	}
	for _, a := range announced {
		if endpoint, ok := a.Endpoint(); ok {
			return endpoint, nil
		}
	}
	public := slices.DeleteFunc(slices.Clone(confirmed), func(a ma.Multiaddr) bool { return !manet.IsPublicAddr(a) })
	if best := append(Endpoints(public), Endpoints(addrs)...); len(best) > 0 {
		return best[0], nil
	}
	return "", nil
}

// HostnameEndpoint returns the endpoint for a hostname as an operator writes it: a DNS name or an IP address, with a
// port of its own or else with the one given.
func HostnameEndpoint(hostname string, port int) (string, error) {
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

// IsLoopbackName reports whether a hostname, as an operator writes it, means each machine itself.
func IsLoopbackName(hostname string) bool {
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
