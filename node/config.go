package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// Config says what a Node is. Only Key is needed.
type Config struct {
	// Key is the node's identity; see LoadOrCreateKey.
	Key crypto.PrivKey
	// Listen is where to listen, multiaddrs such as /ip4/0.0.0.0/udp/9443/quic-v1;
	// none means UDP port 9443 of all IPv4 and, where there are, IPv6 addresses.
	Listen []string
	// Realm is the realm that is served; empty means maculadht.DefaultRealm.
	Realm string
	// Hostname is what peers are told to reach this node by: a DNS name or an
	// IP address, with ":port" where it is not the port listened on. Empty means
	// a reachable public address, else one of an interface.
	Hostname string
	// Bootstrap is whom to connect to at the start: multiaddrs with /p2p. The
	// node itself may be among them.
	Bootstrap []string
	// Mode is whether the node answers libp2p peers; empty means ModeAuto.
	Mode Mode
	// AllowEndpoints are address ranges in which an Erlang node's endpoint is
	// dialled though the node connects from another address.
	AllowEndpoints []netip.Prefix
	// Version of the program, as told to other peers.
	Version string
	// Log is where the node logs; nil for nowhere.
	Log *slog.Logger
}

// settings are a Config that has been checked.
type settings struct {
	Config
	listen    []ma.Multiaddr
	bootstrap []peer.AddrInfo
}

// check returns what the configuration means, or all that is wrong with it.
func (c Config) check() (settings, error) {
	s := settings{Config: c}
	var errs []error
	if c.Key == nil {
		errs = append(errs, errors.New("there is no identity key"))
	}
	if s.Realm == "" {
		s.Realm = maculadht.DefaultRealm
	}
	if s.Mode == "" {
		s.Mode = ModeAuto
	}
	if s.Version == "" {
		s.Version = "devel"
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if len(s.Realm) > wire.MaxField {
		errs = append(errs, fmt.Errorf("realm %q has %d bytes: write at most %d", s.Realm, len(s.Realm), wire.MaxField))
	}
	if err := s.Mode.check(); err != nil {
		errs = append(errs, err)
	}
	for _, text := range c.Listen {
		addr, err := parseListenAddr(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen address: %w", err))
		}
		s.listen = append(s.listen, addr)
	}
	for _, text := range c.Bootstrap {
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("bootstrap address %q is not a multiaddr with /p2p, such as /ip4/192.0.2.7/udp/9443/quic-v1/p2p/12D3…: %w", text, err))
			continue
		}
		if c.Key != nil && info.ID.MatchesPrivateKey(c.Key) {
			continue // one list for all nodes names each of them
		}
		s.bootstrap = append(s.bootstrap, *info)
	}
	if c.Hostname != "" {
		if _, err := hostnameEndpoint(c.Hostname, defaultPort); err != nil {
			errs = append(errs, err)
		}
	}
	return s, errors.Join(errs...)
}
