package maculadht

import (
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// isAt reports whether an endpoint has the IP address of a multiaddr.
func isAt(endpoint string, seenAt ma.Multiaddr) bool {
	e, err := wire.ParseEndpoint(endpoint)
	if err != nil || seenAt == nil {
		return false
	}
	ip, isIP := e.Addr()
	return isIP && ip == routing.AddrPortOf(seenAt).Addr().Unmap()
}

// learnt returns the addresses that a peer tells of itself, without those that
// can not lead to it: a peer seen at a public address is not in our own network.
func learnt(addrs []ma.Multiaddr, seenAt ma.Multiaddr) []ma.Multiaddr {
	if seenAt == nil || !manet.IsPublicAddr(seenAt) {
		return addrs
	}
	return ma.FilterAddrs(addrs, manet.IsPublicAddr)
}

// learntEndpoint returns the endpoint that a peer tells of itself, or nothing where
// it is none, or can not lead to it, as behind a NAT: Erlang nodes are told of it,
// and dial what they are told.
func learntEndpoint(endpoint string, seenAt ma.Multiaddr) string {
	e, err := wire.ParseEndpoint(endpoint)
	if err != nil {
		return ""
	}
	ip, isIP := e.Addr()
	if !isIP || seenAt == nil {
		return endpoint
	}
	at, err := manet.FromIP(ip.AsSlice())
	switch {
	case err != nil,
		manet.IsPublicAddr(seenAt) && !manet.IsPublicAddr(at),
		ip.IsLoopback() && !manet.IsIPLoopback(seenAt):
		return ""
	}
	return endpoint
}
