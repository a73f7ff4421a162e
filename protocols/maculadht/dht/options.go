package dht

import (
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

type config struct {
	realm     string
	endpoint  func() string
	addrs     func() []ma.Multiaddr
	peerID    peer.ID
	network   routing.Network
	bootstrap Publisher
	resolver  Resolver
	adopter   Adopter
	verifier  *signed.Verifier
}

// Option sets a detail of Handlers.
type Option func(*config) error

// WithRealm sets the realm that is served, DefaultRealm without it. A CONNECT
// of another is refused.
func WithRealm(realm string) Option {
	return func(c *config) error {
		if realm == "" || len(realm) > wire.MaxField {
			return fmt.Errorf("realm %q: want 1 to %d bytes", realm, wire.MaxField)
		}
		c.realm = realm
		return nil
	}
}

// RealmOf returns the realm that handlers with some options serve.
func RealmOf(opts ...Option) (string, error) {
	c, err := configOf(opts)
	return c.realm, err
}

// WithVerifier sets what verifies the proofs of records, for who reads some too; one for
// the realm of these handlers alone without it.
func WithVerifier(v *signed.Verifier) Option {
	return func(c *config) error {
		if v == nil {
			return errors.New("verifier is nil")
		}
		c.verifier = v
		return nil
	}
}

// WithEndpoint sets where this node's endpoint ("https://host:port", empty
// for none) is read from each time that it is told to a peer; a gateway's of these
// handlers without it.
func WithEndpoint(endpoint func() string) Option {
	return func(c *config) error {
		if endpoint == nil {
			return errors.New("what tells this node's endpoint is nil")
		}
		c.endpoint = endpoint
		return nil
	}
}

// WithAddrs sets where this node's multiaddrs are read from each time that
// they are told to a peer.
func WithAddrs(addrs func() []ma.Multiaddr) Option {
	return func(c *config) error {
		if addrs == nil {
			return errors.New("what tells this node's addrs is nil")
		}
		c.addrs = addrs
		return nil
	}
}

// WithPeerID sets the libp2p peer that this node is, which _dht.peer_info tells who
// came by its endpoint. Without it there is no such procedure here.
func WithPeerID(id peer.ID) Option {
	return func(c *config) error {
		c.peerID = id
		return id.Validate()
	}
}

// WithNetwork sets through what SendToPeer and QueryPeer reach others.
func WithNetwork(n routing.Network) Option {
	return func(c *config) error {
		if n == nil {
			return errors.New("network is nil")
		}
		c.network = n
		return nil
	}
}

// WithBootstrap sets what ForwardPublishToBootstrap hands publications to.
func WithBootstrap(p Publisher) Option {
	return func(c *config) error {
		if p == nil {
			return errors.New("bootstrap is nil")
		}
		c.bootstrap = p
		return nil
	}
}
