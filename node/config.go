package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/internal/access"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/node/internal/metrics"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
	"github.com/macula-mesh/macula-node/node/limits"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Config says what a Node is. Only Key is needed, or DataDir.
type Config struct {
	// Key is the node's identity; nil means the one that is kept in DataDir, made at
	// the first start, see Identity.
	Key crypto.PrivKey
	// Listen is where to listen, multiaddrs such as /ip4/0.0.0.0/udp/9443/quic-v1;
	// none means Port of all IPv4 and, where there are, IPv6 addresses.
	Listen []string
	// Port is the UDP port to listen on where Listen is empty; 0 means 9443.
	Port uint16
	// Realm is the realm that is served; empty means proto.DefaultRealm.
	Realm string
	// Hostname is what peers are told to reach this node by: a DNS name or an
	// IP address, with ":port" where it is not the port listened on. Empty means
	// a reachable public address, else one of an interface.
	Hostname string
	// Announce are addresses by which others reach this node that it can not see itself, as
	// in a container or behind a forwarded port: /ip4, /ip6, /dns, /dns4 or /dns6, then
	// /udp/PORT/quic-v1. Peers are told them beside its own, and Erlang nodes the first of
	// them where there is no Hostname.
	Announce []string
	// Bootstrap is whom to connect to at the start: multiaddrs with /p2p, of
	// which the node itself may be one, and endpoints of Erlang gateways,
	// https://host:port, which a pin may follow (identity.ParsePinnedEndpoint).
	Bootstrap []string
	// Mode is whether the node answers libp2p peers; empty means ModeAuto.
	Mode Mode
	// NoPortMapping keeps the node from asking the router to forward its port,
	// which it else does unless it listens on loopback alone.
	NoPortMapping bool
	// TLS is what Erlang nodes are shown, and what is accepted from them.
	TLS credentials.TLS
	// DataDir is where the key and the certificate are kept that the node makes for
	// itself, and the records of a Durable node; empty means nowhere: it is another one
	// at each start. It is made where it is not there. One node at a time can be on it,
	// and there the commands of this machine find the node.
	DataDir string
	// Durable keeps the records, the node's own advertisements and its contacts in the
	// directory "store" of DataDir, so that a node which starts there again has them:
	// what is acknowledged is on the disk, see docs/RELIABILITY.md. It contradicts Store.
	Durable bool
	// AllowEndpoints are address ranges in which an Erlang node's endpoint is
	// dialled though the node connects from another address.
	AllowEndpoints []netip.Prefix
	// Allow and Deny are files that say who may come and is connected to, a peer id or an
	// address range a line; empty means none. Whom an entry of Deny matches does not come,
	// by his peer id or his address; where Allow has entries nobody else does whom none of
	// them matches, by either. Erlang nodes have no peer id. Reload reads them again.
	Allow, Deny string
	// Strict answers nobody who has not CONNECTed in the node's realm, see
	// docs/PROTOCOL.md.
	Strict bool
	// GroupPrivate has private, link-local and loopback addresses count in IP groups as
	// public ones do, in all that is limited by group: tables, lists and lookups, storage,
	// what peers use, connections and kad-dht. Without it they are in none, so that all of a
	// mesh may be in one private network. It sets the Everywhere of Limits, Parts and Conns.
	GroupPrivate bool
	// SwarmKey is refused with an ErrSwarmKey.
	SwarmKey string
	// Version of the program, as told to other peers.
	Version string
	// Log is where all of the node logs; nil means go-log's loggers, of the
	// subsystems macula/node, macula/dht, macula/pubsub, macula/dialer, macula/gateway
	// and macula/uplink.
	Log *slog.Logger

	// Health is where probes of health and metrics are answered over HTTP, host:port, as an
	// Erlang gateway answers them; empty means nowhere.
	Health string

	// API is where the local API is reached over TCP beside its socket in the DataDir,
	// host:port; empty means nowhere. Where it is no loopback address who asks has to know
	// the token that is kept in the DataDir. A node whose API can not be listened on does
	// not start, unless APISpare says that it may do without.
	API      string
	APISpare bool
	// Page answers what there is no operation for of the local API over TCP; nil means the
	// node's own status page (node/api/page).
	Page http.Handler

	// Limits are what peers may use; nil means maculadht.DefaultLimits.
	Limits *maculadht.Limits
	// Parts are what the parts of the node may cost; nil means limits.Defaults.
	Parts *limits.Parts
	// Conns are what all connections, of both protocols, may cost in memory, and how
	// many handshakes are under way; a field that is 0 has its default. What is buffered
	// on them, before the heaviest gives way, is half of what Limits allow by default.
	Conns conns.Limits
	// Store keeps the records, and is closed with the node; nil means in memory.
	Store records.Store
	// Records are what records may cost in memory; a field that is 0 has its default.
	Records records.Limits
	// DiskBytes is what the files of a Durable node's store may take, in bytes; 0 means
	// pebble.DefaultMaxBytes.
	DiskBytes int64
	// ConnsLow and ConnsHigh: when the host has more than ConnsHigh connections to
	// libp2p peers, those that are worth least are closed until ConnsLow are left.
	// 0 means DefaultConnsLow and DefaultConnsHigh.
	ConnsLow, ConnsHigh int
	// ConnManager trims the host's connections in a way of its own; it contradicts
	// ConnsLow and ConnsHigh. Nil means libp2p's, with these.
	ConnManager connmgr.ConnManager
	// Registerer takes the metrics of the node and of libp2p; nil means a registry of the
	// node's own, with those of the Go runtime and the process beside. Of a Registerer a
	// node has its own, which may be a prometheus.WrapRegistererWith: Close takes the node's
	// metrics from it. Those of libp2p are of all hosts in the process, and stay.
	Registerer prometheus.Registerer
	// TracerProvider has each lookup be a span of OpenTelemetry (lookup.WithTracerProvider);
	// nil means none.
	TracerProvider trace.TracerProvider
	// HostOptions are for the libp2p host, after the node's own. Listening, the
	// identity, QUIC and routing are the node's.
	HostOptions []libp2p.Option
}

// How many connections to libp2p peers are kept, unless the configuration says
// otherwise. A table of a million nodes has some 320 contacts, and kad-dht's as many.
const (
	DefaultConnsLow  = 768
	DefaultConnsHigh = 1024
)

// settings are a Config that has been checked.
type settings struct {
	Config
	listen    []ma.Multiaddr
	port      uint16 // where listen is empty
	announced []quicaddr.Announced
	bootstrap []peer.AddrInfo
	itself    []string                  // bootstrap addresses with this node's own peer id
	gateways  []identity.PinnedEndpoint // each host and port once
	tls       credentials.Credentials
	access    *access.Lists // nil where the host's options may say who comes
}

// check returns what the configuration means, or all that is wrong with it.
func (c Config) check() (settings, error) {
	s := settings{Config: c}
	var errs []error
	if c.Key == nil && c.DataDir == "" {
		errs = append(errs, errors.New("there is no identity key: set Key, or DataDir to keep one there"))
	}
	if s.Realm == "" {
		s.Realm = proto.DefaultRealm
	}
	if s.Mode == "" {
		s.Mode = ModeAuto
	}
	if s.Version == "" {
		s.Version = "devel"
	}
	if s.Limits == nil {
		l := maculadht.DefaultLimits()
		s.Limits = &l
	}
	if s.Parts == nil {
		l := limits.Defaults()
		s.Parts = &l
	}
	if s.GroupPrivate {
		l, parts := *s.Limits, *s.Parts
		l.Accounts.Everywhere, parts.Diversity.Everywhere, s.Conns.Everywhere = true, true, true
		s.Limits, s.Parts = &l, &parts
	}
	wrong := s.Parts.Validate()
	wrong["Limits.Accounts"], wrong["Limits"], wrong["Records"] = s.Limits.Accounts.Validate(), s.Limits.Validate(), s.Records.Validate()
	for _, field := range slices.Sorted(maps.Keys(wrong)) {
		if wrong[field] != nil {
			errs = append(errs, &ConfigError{field, wrong[field]})
		}
	}
	if s.Conns.Memory == 0 {
		s.Conns.Memory = conns.DefaultLimits().Memory
	}
	if s.Conns.Buffered == 0 {
		s.Conns.Buffered = max(s.Limits.Accounts.TotalMemory/2, conns.Allowance)
	}
	if err := s.Conns.Validate(); err != nil {
		errs = append(errs, &ConfigError{"Conns", err})
	}
	if s.Registerer == nil {
		s.Registerer = metrics.NewRegistry()
	}
	s.ConnsLow, s.ConnsHigh = cmp.Or(s.ConnsLow, min(DefaultConnsLow, cmp.Or(s.ConnsHigh, DefaultConnsLow))), cmp.Or(s.ConnsHigh, max(DefaultConnsHigh, s.ConnsLow))
	switch {
	case c.Durable && c.DataDir == "":
		errs = append(errs, errors.New("a durable node has no data directory to keep its records in: set DataDir"))
	case c.Durable && c.Store != nil:
		errs = append(errs, errors.New("a durable node has a store of its own: set Store, or Durable"))
	case c.API != "" && c.DataDir == "":
		errs = append(errs, errors.New("a local API, and no data directory for its socket and its token: set DataDir"))
	case c.DiskBytes != 0 && !c.Durable:
		errs = append(errs, fmt.Errorf("%d bytes of disk for a node that is not durable: set Durable too", c.DiskBytes))
	}
	switch {
	case c.ConnManager != nil && (c.ConnsLow != 0 || c.ConnsHigh != 0):
		errs = append(errs, errors.New("a connection manager, and how many connections to keep: write one of them"))
	case s.ConnsLow < 1 || s.ConnsHigh < s.ConnsLow:
		errs = append(errs, &ConfigError{"ConnsLow", fmt.Errorf("connections: %d to %d: want at least 1, and the second not below the first", s.ConnsLow, s.ConnsHigh)})
	}
	if len(s.Realm) > wire.MaxField {
		errs = append(errs, &ConfigError{"Realm", fmt.Errorf("realm %q has %d bytes: write at most %d", s.Realm, len(s.Realm), wire.MaxField)})
	}
	if err := s.Mode.check(); err != nil {
		errs = append(errs, &ConfigError{"Mode", err})
	}
	for _, text := range c.Listen {
		addr, err := quicaddr.ParseListen(text)
		if err != nil {
			errs = append(errs, &ConfigError{"Listen", fmt.Errorf("listen address: %w", err)})
		} else if slices.ContainsFunc(s.listen, addr.Equal) {
			errs = append(errs, &ConfigError{"Listen", fmt.Errorf("listen address %s is given twice: write it once", addr)})
		}
		s.listen = append(s.listen, addr)
	}
	if s.port = cmp.Or(c.Port, endpoints.DefaultPort); c.Port != 0 && len(c.Listen) > 0 {
		errs = append(errs, fmt.Errorf("port %d and the listen address %s: write one of them, a listen address has its port in it", c.Port, c.Listen[0]))
	}
	for _, text := range c.Announce {
		addr, err := quicaddr.ParseAnnounced(text)
		if err != nil {
			errs = append(errs, &ConfigError{"Announce", err})
		}
		s.announced = append(s.announced, addr)
	}
	for _, text := range c.Bootstrap {
		if err := s.addBootstrap(text); err != nil {
			errs = append(errs, &ConfigError{"Bootstrap", err})
		}
	}
	var err error
	if s.tls, err = c.TLS.Load(); err != nil {
		errs = append(errs, &ConfigError{"TLS", fmt.Errorf("TLS: %w", err)})
	}
	if c.Allow != "" || c.Deny != "" || len(c.HostOptions) == 0 { // which may have a gater of their own
		if s.access, err = access.Open(c.Allow, c.Deny); err != nil {
			for list, err := range access.FileErrors(err) {
				errs = append(errs, &ConfigError{map[string]string{access.AllowList: "Allow", access.DenyList: "Deny"}[list], err})
			}
		}
	}
	switch {
	case c.SwarmKey != "":
		errs = append(errs, &ConfigError{"SwarmKey", fmt.Errorf("swarm key %s: %w", c.SwarmKey, ErrSwarmKey)})
	case pnet.ForcePrivateNetwork:
		errs = append(errs, fmt.Errorf("%s is set, which wants a swarm key: %w", pnet.EnvKey, ErrSwarmKey))
	}
	if c.Hostname != "" {
		if _, err := quicaddr.HostnameEndpoint(c.Hostname, endpoints.DefaultPort); err != nil {
			errs = append(errs, &ConfigError{"Hostname", err})
		}
	}
	if s.Key != nil {
		s.passOverItself()
		errs = append(errs, s.checkAnnounced())
	}
	return s, errors.Join(errs...)
}

// checkAnnounced refuses addresses that are announced as those of another node.
func (s *settings) checkAnnounced() error {
	if err := quicaddr.CheckOwn(s.announced, s.Key); err != nil {
		return &ConfigError{"Announce", err}
	}
	return nil
}

// ConfigError is what is wrong with a field of a [Config].
type ConfigError struct {
	Field string // its name, such as "Realm"
	Err   error  // which says the value too
}

// Check returns what is wrong with the configuration: of a field, as a ConfigError, and of
// what its fields say together. Files that it names are read; nothing is changed, and what
// only the start can tell, such as whether a port is free, is not looked at.
func (c Config) Check() error {
	_, err := c.check()
	return err
}

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// addBootstrap takes an entry of Bootstrap.
func (s *settings) addBootstrap(text string) error {
	entry, err := ParseBootstrap(text)
	switch {
	case err != nil:
		return fmt.Errorf("bootstrap address %w", err)
	case entry.Peer == nil:
		return s.addGateway(entry.Gateway)
	default:
		s.bootstrap = append(s.bootstrap, *entry.Peer)
	}
	return nil
}

// passOverItself takes this node out of the bootstrap peers: one list for all nodes names
// each of them.
func (s *settings) passOverItself() {
	s.bootstrap = slices.DeleteFunc(s.bootstrap, func(b peer.AddrInfo) bool {
		itself := b.ID.MatchesPrivateKey(s.Key)
		if addrs, err := peer.AddrInfoToP2pAddrs(&b); itself && err == nil {
			s.itself = append(s.itself, texts(addrs)...)
		}
		return itself
	})
}

func (s *settings) addGateway(e identity.PinnedEndpoint) error {
	i := slices.IndexFunc(s.gateways, func(g identity.PinnedEndpoint) bool { return g.Endpoint == e.Endpoint })
	switch {
	case i < 0:
		s.gateways = append(s.gateways, e)
	case s.gateways[i].Pin.IsZero():
		s.gateways[i].Pin = e.Pin
	case !e.Pin.IsZero() && e.Pin != s.gateways[i].Pin:
		return fmt.Errorf("bootstrap address %s has two pins, %s and %s: write the one of its key", e, s.gateways[i].Pin, e.Pin)
	}
	return nil
}

// log returns the logger of a subsystem.
func (c Config) log(subsystem string) *slog.Logger {
	if c.Log != nil {
		return c.Log
	}
	return logs.Logger(subsystem)
}
