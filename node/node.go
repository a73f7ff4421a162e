package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/internal/health"
	"github.com/macula-mesh/macula-node/node/api"
	"github.com/macula-mesh/macula-node/node/api/page"
	"github.com/macula-mesh/macula-node/node/internal/backend"
	"github.com/macula-mesh/macula-node/node/internal/metrics"
	"github.com/macula-mesh/macula-node/node/internal/peerhost"
	"github.com/macula-mesh/macula-node/node/internal/presence"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// Node is a running peer.
type Node struct {
	cfg     settings
	host    *peerhost.Host
	port    int // UDP, of the first address that is listened on
	records *records.Manager
	disk    *pebble.Store  // nil where the node is not durable
	stored  *backend.Store // where records keeps them
	service *maculadht.Service
	topics  *pubsub.Topics
	watcher *watch.Watcher
	calls   *rpc.Calls
	gateway *gateway.Gateway
	dialer  *dialer.Dialer
	uplinks *uplink.Uplinks

	certificate tls.Certificate // which Erlang nodes see

	backend  *backend.Backend   // what the local API asks
	presence *presence.Presence // nil without a data directory
	unread   string             // the store in the data directory that the node leaves alone; empty for none

	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	close func() error

	mu     sync.Mutex
	closed bool
	tasks  sync.WaitGroup // the watches over mode and memory, and backups

	closing   closing
	abandoned atomic.Bool // see Abandon

	metrics *metrics.Metrics
	health  *health.Server // nil without
	ready   atomic.Bool
}

// New starts a node. It serves when New returns; it connects to its bootstrap
// peers in the background. Close it. A node with a DataDir is alone on it, else the error
// is an ErrInUse, and is found there by the commands of this machine (macula-node
// status, backup, get, put, lookup). In a directory that is refused nothing is changed.
func New(cfg Config) (*Node, error) { return Start(context.Background(), cfg) }

// Start is New, given up when ctx ends before the node serves: the error is that of ctx
// then, and what is under way, such as the reading of a large store, goes on in the
// background until the disk lets it end. ctx bounds nothing of what the node does later.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	checked, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	n := &Node{cfg: checked}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.close = sync.OnceValue(n.shutdown)
	if cfg.DataDir != "" {
		if n.presence, err = presence.Take(cfg.DataDir, cfg.log("node")); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	started := make(chan error, 1)
	go func() { started <- n.start() }()
	select {
	case err := <-started:
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		return n, nil
	case <-ctx.Done():
		go func() {
			<-started
			_ = n.Close() // nobody is left to be told
		}()
		return nil, errors.Join(fmt.Errorf("start the node: %w", ctx.Err()), n.withdraw())
	}
}

func (n *Node) start() error {
	if err := n.openMetrics(); err != nil {
		return err
	}
	if err := n.openHealth(); err != nil {
		return err
	}
	if err := n.settleIn(); err != nil {
		return err
	}
	listen := n.cfg.listen
	if len(listen) == 0 {
		listen = quicaddr.Any(n.cfg.port)
	}
	var err error
	n.host, err = peerhost.New(peerhost.Config{
		Key:          n.cfg.Key,
		ListenAddrs:  listen,
		Announce:     quicaddr.Addrs(n.cfg.announced),
		Version:      n.cfg.Version,
		Accounts:     n.cfg.Limits.Accounts,
		Access:       n.cfg.access,
		Conns:        n.cfg.Conns,
		Registerer:   n.cfg.Registerer,
		ConnManager:  n.cfg.ConnManager,
		ConnsLow:     n.cfg.ConnsLow,
		ConnsHigh:    n.cfg.ConnsHigh,
		Options:      n.cfg.HostOptions,
		Bootstrap:    n.cfg.bootstrap,
		KadServer:    n.cfg.Mode != ModeClient,
		Relay:        true,
		HolePunching: true,
		NATPortMap:   !n.cfg.NoPortMapping && quicaddr.BeyondLoopback(listen),
	})
	if err != nil {
		return err
	}
	n.tasks.Go(func() { n.host.Conns.KeepWithin(n.ctx, n.cfg.log("node")) })
	if n.port, err = n.checkListening(listen); err != nil {
		return err
	}
	if n.dialer, err = dialer.New(
		dialer.WithQUIC(n.host.MaculaQUIC()),
		dialer.WithTLS(n.cfg.tls.Dialling),
		dialer.WithPins(n.cfg.gateways...),
		dialer.WithLimiter(n.host.Dials()),
		dialer.WithLimits(n.cfg.Parts.Dialer),
		dialer.WithLogger(n.cfg.log("dialer")),
		dialer.WithMetricsTracer(n.metrics.Dialer),
	); err != nil {
		return err
	}
	n.host.AskBeforeDials(n.dialer.MayDialBeside)
	if quicaddr.IsLoopbackName(n.cfg.Hostname) {
		n.cfg.log("node").Warn("the hostname means each machine itself: nodes on other machines can not reach this one by it", "hostname", n.cfg.Hostname)
	}
	opts, err := n.serviceOptions()
	if err != nil {
		return err
	}
	if n.service, err = maculadht.New(n.host.Base, opts...); err != nil {
		return err
	}
	if err := n.openTopics(); err != nil {
		return err
	}
	if err := n.openCalls(); err != nil {
		return err
	}
	if n.cfg.Strict {
		n.host.AnswerKadOnlyTo(n.service.Met)
	}
	if err := n.openGateway(); err != nil {
		return err
	}
	n.warnOfHostname(listen)
	if n.cfg.Mode == ModeAuto {
		if err := n.watchReachability(n.ctx); err != nil {
			return err
		}
	}
	if err := n.openUplinks(n.ctx); err != nil {
		return err
	}
	if err := n.service.Join(n.ctx, n.cfg.bootstrap...); err != nil {
		return err
	}
	n.sayWhoMayCome("who may come is limited")
	if err := n.openBackend(); err != nil {
		return err
	}
	if n.presence != nil {
		if err := n.openAPI(); err != nil {
			return err
		}
	}
	n.ready.Store(true)
	return nil
}

// openAPI has the node be found in its data directory, and its local API and page be reached.
func (n *Node) openAPI() (err error) {
	o := api.Options{Address: n.cfg.API, Spare: n.cfg.APISpare, Page: n.cfg.Page}
	if o.Page == nil {
		if o.Page, err = page.New(local{n.backend, n}); err != nil {
			return err
		}
	}
	if n.Gatherer() != nil {
		o.Metrics = n.MetricsHandler()
	}
	return n.presence.Serve(local{n.backend, n}, o, n.running())
}

// APIURL returns where the local API is reached over TCP, such as http://127.0.0.1:9480;
// nothing where it is not.
func (n *Node) APIURL() string {
	if n.presence == nil {
		return ""
	}
	return n.presence.APIURL()
}

// warnOfHostname says that a hostname which stands for this machine everywhere tells
// others nothing.
func (n *Node) warnOfHostname(listen []ma.Multiaddr) {
	e, err := endpoints.Parse(n.Endpoint())
	if n.cfg.Hostname != "" && err == nil && e.IsLocal() && quicaddr.BeyondLoopback(listen) {
		n.cfg.log("node").Warn("the hostname means this machine to every other one: nodes elsewhere are told of no endpoint; set it to a name or an address that leads here (MACULA_HOSTNAME, --hostname)", "hostname", n.cfg.Hostname)
	}
}

// serviceOptions returns what the service is told, and opens the records.
func (n *Node) serviceOptions() ([]maculadht.Option, error) {
	opts := []maculadht.Option{
		maculadht.WithMode(n.cfg.Mode.atStart()),
		maculadht.WithRealm(n.cfg.Realm),
		maculadht.WithLimits(*n.cfg.Limits),
		maculadht.WithHandlers(dht.WithEndpoint(n.Endpoint), dht.WithBootstrap(bootstrap{n})),
		maculadht.WithEndpoints(n.dialer),
		maculadht.WithPeerRouting(n.host.Kad),
		maculadht.WithLogger(n.cfg.log("dht")),
	}
	opts = append(opts, n.cfg.Parts.ServiceOptions()...)
	opts = append(opts, n.metrics.ServiceOptions(n.cfg.TracerProvider)...)
	if n.cfg.Strict {
		opts = append(opts, maculadht.WithServer(server.WithStrict()))
	}
	kept, err := n.openRecords()
	return append(opts, kept...), err
}

// checkListening returns the port of the first address that is listened on. It
// fails where an address that was asked for is not: libp2p is content with one
// of them. Of the default addresses IPv6 may be missing, as some machines have
// none.
func (n *Node) checkListening(asked []ma.Multiaddr) (port int, err error) {
	var open []netip.AddrPort
	for _, addr := range n.host.Network().ListenAddresses() {
		if ap, ok := quicaddr.AddrPort(addr); ok {
			open = append(open, ap)
		}
	}
	for _, addr := range asked {
		want, _ := quicaddr.AddrPort(addr)
		i := slices.IndexFunc(open, func(ap netip.AddrPort) bool {
			return ap.Addr() == want.Addr() && (want.Port() == 0 || ap.Port() == want.Port())
		})
		switch {
		case i >= 0:
			port = cmp.Or(port, int(open[i].Port()))
		case len(n.cfg.listen) > 0 || want.Addr().Is4():
			return 0, fmt.Errorf("could not listen on %s: is another program using the UDP port? Stop it, or listen on another", addr)
		}
	}
	return port, nil
}

// openGateway serves Erlang nodes on the ports of the host.
func (n *Node) openGateway() error {
	var err error
	if n.certificate, err = n.cfg.tls.Certificate(n.Endpoint(), n.cfg.DataDir, n.cfg.log("node")); err != nil {
		return err
	}
	opts := []gateway.Option{
		gateway.WithDialer(n.dialer),
		gateway.WithAllowedEndpoints(n.cfg.AllowEndpoints...),
		gateway.WithLimits(n.cfg.Parts.Gateway),
		gateway.WithLogger(n.cfg.log("gateway")),
		gateway.WithMetricsTracer(n.metrics.Gateway),
	}
	if gater := n.host.Gater(); gater != nil {
		opts = append(opts, gateway.WithConnectionGater(gater))
	}
	if n.gateway, err = gateway.New(n.service.Handlers(), opts...); err != nil {
		return err
	}
	for _, open := range n.host.MaculaListeners(gateway.ServerTLS(n.certificate)) {
		if err := n.gateway.Listen(open); err != nil {
			return err
		}
	}
	return nil
}

// Listening returns whether Erlang nodes are served at each UDP address that is
// listened on: what ended is listened on again, see gateway.Gateway.Listen.
func (n *Node) Listening() []gateway.ListenerStatus { return n.gateway.Listening() }

// Host returns the libp2p host.
func (n *Node) Host() host.Host { return n.host }

// Service returns the service of /macula/dht/1.0.
func (n *Node) Service() *maculadht.Service { return n.service }

// Dialer returns what asks Erlang nodes.
func (n *Node) Dialer() *dialer.Dialer { return n.dialer }

// Conns returns what the connections of both protocols cost at the moment.
func (n *Node) Conns() conns.Stats { return n.host.Conns.Stats() }

// ID returns the node's id in the DHT.
func (n *Node) ID() routing.ID { return n.service.Routing().Self() }

// Realm returns the realm that is served.
func (n *Node) Realm() string { return n.cfg.Realm }

// Addrs returns the node's multiaddrs, with /p2p.
func (n *Node) Addrs() []ma.Multiaddr {
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()})
	if err != nil {
		return nil // a host's own id is a valid one
	}
	return addrs
}

// Endpoints returns the addresses by which Erlang nodes reach this node, as
// "https://host:port": the one that they are told first, see Endpoint.
func (n *Node) Endpoints() (all []string) {
	add := func(e string) {
		if e != "" && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	add(n.Endpoint())
	for _, a := range n.cfg.announced {
		e, _ := a.Endpoint()
		add(e)
	}
	for _, e := range quicaddr.Endpoints(n.interfaceAddrs()) {
		add(e)
	}
	return all
}

// Endpoint returns the address that Erlang nodes are told to reach this node
// by: the hostname of the configuration, else the first address that is announced, else a
// reachable public address, else one of an interface, else nothing.
func (n *Node) Endpoint() string {
	endpoint, err := quicaddr.BestEndpoint(n.cfg.Hostname, n.port, n.cfg.announced, n.host.ConfirmedAddrs(), n.interfaceAddrs())
	if err != nil {
		return "" // not with a configuration that was checked
	}
	return endpoint
}

// interfaceAddrs returns the addresses of this machine that are listened on.
func (n *Node) interfaceAddrs() []ma.Multiaddr {
	addrs, err := n.host.Network().InterfaceListenAddresses()
	if err != nil {
		n.cfg.log("node").Warn("can not read the interfaces' addresses", "err", err)
	}
	return addrs
}
