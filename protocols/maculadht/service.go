package maculadht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	corerouting "github.com/libp2p/go-libp2p/core/routing"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/bootstrap"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/admission"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/router"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/publication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/upkeep"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
)

// Service speaks /macula/dht/1.0 on a host: it answers peers, unless it is a
// client, and introduces itself to those that it connects to and that speak the
// protocol too.
type Service struct {
	host      host.Host
	routing   *routing.Server
	handlers  *dht.Handlers
	client    *client.Client
	router    *router.Router
	lookups   *lookup.Lookups
	upkeep    *upkeep.Upkeep
	resolver  *resolver.Resolver   // nil without proxy
	adopter   *replication.Adopter // nil without proxy
	admission *admission.Admission
	joiner    *bootstrap.Joiner
	publisher *publication.Publisher
	log       *slog.Logger
	summary   *logs.Summary
	tracer    MetricsTracer
	proved    bool            // providers that are not are not told
	owned     *routing.Server // made here, so closed here

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // streams being served, and lookups

	switching sync.Mutex // held while the handler is put on the host or taken off; before mu

	mu          sync.Mutex
	closed      bool
	mode        Mode
	serving     context.Context // ends when the service becomes a client
	stopServing context.CancelFunc
}

type serviceConfig struct {
	mux       []server.Option
	handlers  []dht.Option
	client    []client.Option
	routing   []routing.Option
	lookups   []lookup.Option
	upkeep    []upkeep.Option
	resolver  []resolver.Option
	adopter   []replication.Option
	noProxy   bool
	proved    bool
	retries   bootstrap.Retries
	endpoints routing.Network
	state     state.State
	server    *routing.Server
	mode      Mode
	log       *slog.Logger
	tracer    MetricsTracer

	peerRouting corerouting.PeerRouting
}

// Option sets a detail of a Service.
type Option func(*serviceConfig) error

// WithServer passes options on to what serves streams, such as
// server.WithMetricsTracer.
func WithServer(opts ...server.Option) Option {
	return func(c *serviceConfig) error {
		c.mux = append(c.mux, opts...)
		return nil
	}
}

// WithHandlers passes options on to the handlers, such as dht.WithEndpoint.
func WithHandlers(opts ...dht.Option) Option {
	return func(c *serviceConfig) error {
		c.handlers = append(c.handlers, opts...)
		return nil
	}
}

// WithRealm sets the realm that is served; DefaultRealm without it.
func WithRealm(realm string) Option { return WithHandlers(dht.WithRealm(realm)) }

// WithClient passes options on to the client.
func WithClient(opts ...client.Option) Option {
	return func(c *serviceConfig) error {
		c.client = append(c.client, opts...)
		return nil
	}
}

// WithRouting passes options on to the routing server that the service makes. It
// contradicts WithRoutingServer.
func WithRouting(opts ...routing.Option) Option {
	return func(c *serviceConfig) error {
		c.routing = append(c.routing, opts...)
		return nil
	}
}

// WithLookups passes options on to the lookups.
func WithLookups(opts ...lookup.Option) Option {
	return func(c *serviceConfig) error {
		c.lookups = append(c.lookups, opts...)
		return nil
	}
}

// WithUpkeep passes options on to the upkeep of the table and of the records.
func WithUpkeep(opts ...upkeep.Option) Option {
	return func(c *serviceConfig) error {
		c.upkeep = append(c.upkeep, opts...)
		return nil
	}
}

// WithEndpoints sets through what contacts without a peer id, which are Erlang
// nodes, are reached by their endpoints. It stays its caller's to close.
func WithEndpoints(n routing.Network) Option {
	return func(c *serviceConfig) error {
		if n == nil {
			return errors.New("network of endpoints is nil")
		}
		c.endpoints = n
		return nil
	}
}

// WithPeerRouting sets what is asked for the addresses of a contact that has none,
// such as kad-dht. Only those in the routing table are sought, each once, and what
// came of it is remembered for some minutes; a node with a public address is told of
// public ones alone. Without it such a contact can not be reached.
func WithPeerRouting(r corerouting.PeerRouting) Option {
	return func(c *serviceConfig) error {
		if r == nil {
			return errors.New("peer routing is nil")
		}
		c.peerRouting = r
		return nil
	}
}

// WithRoutingServer makes the service forward to s, which stays its caller's to
// close. Its id must be routing.IDFromPeer of the host's. Without it the service
// makes one of its own.
func WithRoutingServer(s *routing.Server) Option {
	return func(c *serviceConfig) error {
		if s == nil {
			return errors.New("routing server is nil")
		}
		c.server = s
		return nil
	}
}

// State keeps small things over a restart; see [state.State].
type State = state.State

// WithState sets where the service keeps what is to outlive a restart beside its
// records, for one service at a time: what it advertises, which goes on by itself when a
// service starts with the state again (see Advertise and Advertisements), and the
// contacts through which it joins again (see Join). It stays its caller's to close, after
// the service. Without it nothing outlives one.
func WithState(st State) Option {
	return func(c *serviceConfig) error {
		if st == nil {
			return errors.New("state is nil")
		}
		c.state = st
		return nil
	}
}

// Limits are what peers may use; see server.Limits.
type Limits = server.Limits

// DefaultLimits returns the limits of a service that is given no others.
func DefaultLimits() Limits { return server.DefaultLimits() }

// WithLimits sets what peers may use. What is over it is answered busy, or reset
// with proto.ResetRefused.
func WithLimits(l Limits) Option { return WithServer(server.WithLimits(l)) }

// WithLogger sets where the service logs; go-log's macula/dht without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *serviceConfig) error {
		if log == nil {
			return errors.New("logger is nil")
		}
		c.log = log
		return nil
	}
}

// New starts the service on h: any host will do. Close it before the host.
//
// Give it the host without routing where there is a routed one (libp2p.Routing,
// routedhost.Wrap): on that each question to a contact that has gone becomes a whole
// lookup in kad-dht. [WithPeerRouting] is for those contacts that need one.
//
// A host has one server: New, and later SetMode, fail with [ErrServed] where another
// service, or anybody, has the protocol on it. Clients may be more.
func New(h host.Host, opts ...Option) (*Service, error) {
	cfg := serviceConfig{
		retries: bootstrap.DefaultRetries(),
		log:     logs.Logger("dht"),
		tracer:  noTracer{},
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("maculadht: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("maculadht: %w", err)
		}
	}
	s := &Service{
		host:    h,
		log:     cfg.log,
		summary: logs.NewSummary(cfg.log, summarizeFor),
		tracer:  cfg.tracer,
		proved:  cfg.proved,
		mode:    ModeClient, // until start
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	self := routing.IDFromPeer(h.ID())
	srv := cfg.server
	switch {
	case srv != nil && len(cfg.routing) > 0:
		return nil, errors.New("maculadht: options of a routing server, and a server that is made already")
	case srv == nil:
		var err error
		if srv, err = routing.NewServer(self, cfg.routing...); err != nil {
			return nil, fmt.Errorf("maculadht: %w", err)
		}
		s.owned = srv
	}
	if err := s.start(srv, self, cfg); err != nil {
		return nil, fmt.Errorf("maculadht: %w", err)
	}
	return s, nil
}

// start makes the parts, each over those before it, and begins to serve. Where it
// fails it leaves nothing behind.
func (s *Service) start(srv *routing.Server, self routing.ID, cfg serviceConfig) (err error) {
	if srv.Self() != self {
		return fmt.Errorf("routing server has the id %s, the host's is %s", srv.Self(), self)
	}
	defer func() {
		if err != nil {
			s.closeParts()
		}
	}()
	s.routing = srv
	srv.SetConnected(func(p peer.ID) bool { return s.host.Network().Connectedness(p) == network.Connected })
	srv.SetSeenIP(func(p peer.ID) netip.Addr { return admission.SeenIP(s.host.Network(), p) })
	if s.client, err = client.New(s.host, append([]client.Option{client.WithConnect(s.connectOver)}, cfg.client...)...); err != nil {
		return err
	}
	s.router = router.New(router.Config{
		Host: s.host, Client: s.client, Contacts: srv,
		Endpoints: cfg.endpoints, PeerRouting: cfg.peerRouting, Log: s.log,
	})
	realm, err := dht.RealmOf(cfg.handlers...)
	if err != nil {
		return err
	}
	verifier := signed.NewVerifier(realm)
	if s.lookups, err = lookup.New(srv, s.router, append([]lookup.Option{lookup.WithVerifier(verifier)}, cfg.lookups...)...); err != nil {
		return err
	}
	srv.Records().SetNeighbourhood(s.lookups.Neighbourhood())
	proxy, err := s.openProxy(cfg)
	if err != nil {
		return err
	}
	defaults := append(proxy, dht.WithAddrs(s.host.Addrs), dht.WithPeerID(s.host.ID()), dht.WithNetwork(s.router.Anybody()), dht.WithVerifier(verifier))
	mux, err := server.NewMux(cfg.mux...)
	if err != nil {
		return err
	}
	if s.handlers, err = dht.New(mux, srv, append(defaults, cfg.handlers...)...); err != nil {
		return err
	}
	signer, err := s.newSigner(realm)
	if err != nil {
		return err
	}
	if s.publisher, err = publication.New(publication.Config{
		Routing: srv, Lookups: s.lookups, Network: s.router, State: cfg.state, Signer: signer,
		Peer: s.host.ID(), Node: s.handlers, Published: s.tracer.Published, Log: s.log,
	}); err != nil {
		return err
	}
	if s.upkeep, err = upkeep.New(s.lookups, cfg.upkeep...); err != nil {
		return err
	}
	if s.admission, err = admission.New(admission.Config{
		Host: s.host, Client: s.client, Handlers: s.handlers, Upkeep: s.upkeep,
		LookAgain: cfg.retries.LookAgain, Log: s.log, Summary: s.summary,
		Came: s.tracer.PeerCame, Left: s.tracer.PeerLeft,
	}); err != nil {
		return err
	}
	s.joiner = bootstrap.New(bootstrap.Config{
		Host: s.host, Contacts: srv, Realm: s.handlers.Realm(), Retries: cfg.retries, State: cfg.state, Log: s.log,
		Connect: s.router.Connect, Introduce: s.admission.Introduce, Fill: s.upkeep.Join, Filled: s.noteJoined,
	})
	if err := s.SetMode(cfg.mode); err != nil {
		return err
	}
	s.routing.Table().Watch(s.onContact)
	return nil
}

// newSigner returns what seals this node's records, nil where the host does not show its
// key: they are not proved then.
func (s *Service) newSigner(realm string) (*signed.Signer, error) {
	key := s.host.Peerstore().PrivKey(s.host.ID())
	if key == nil {
		s.log.Warn("the host does not show its key: what this node stores is not proved to be its own")
		return nil, nil
	}
	return signed.NewSigner(key, realm)
}

// onContact is told who enters the table and leaves it.
func (s *Service) onContact(c routing.Contact, in bool) {
	s.tagContact(c, in)
	if in {
		s.publisher.Met()
	}
}

// tagContact tells the host's connection manager what a contact is worth: the nearer
// the more, as the fewer there are that could take its place.
func (s *Service) tagContact(c routing.Contact, in bool) {
	switch {
	case c.IsErlang():
	case in:
		s.host.ConnManager().TagPeer(c.Peer, contactTag, contactWorth+s.routing.Self().CommonPrefixLen(c.ID))
	default:
		s.host.ConnManager().UntagPeer(c.Peer, contactTag)
	}
}

const (
	contactTag   = "macula-dht/contact"
	contactWorth = 10 // of the farthest contact; kad-dht's are 5 and their prefix length
)

// connectOver returns our CONNECT as it is sent over a connection.
func (s *Service) connectOver(over network.Conn) *wire.Connect {
	return admission.Connect(s.handlers, over)
}

// Met reports whether a peer that is connected has CONNECTed here, or has answered our
// CONNECT, in the realm of the service.
func (s *Service) Met(p peer.ID) bool { return s.admission.Met(p) }

// Meet has this node and a peer know that they are of one realm: it connects to the peer
// and sends it a CONNECT, unless one of either side was answered while they are connected.
// The error is [ErrUnreachable], [ErrRefused] or [ErrClosed].
func (s *Service) Meet(ctx context.Context, p peer.AddrInfo) error {
	if s.Met(p.ID) {
		return nil
	}
	if !s.begin() {
		return ErrClosed
	}
	defer s.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if err := s.router.Connect(ctx, p); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	for _, conn := range s.host.Network().ConnsToPeer(p.ID) {
		if !conn.IsClosed() && !conn.Stat().Limited {
			return s.admission.Introduce(conn)
		}
	}
	return fmt.Errorf("%w: the connection to %s ended", ErrUnreachable, p.ID)
}

// ClockAhead returns by how much this machine's clock is ahead of those of the libp2p peers
// that are connected, as most see it: less than 0 where it is behind. So many have a voice,
// those of one IP group one together. Proofs bear clocks that are [records.Skew] apart.
func (s *Service) ClockAhead() (ahead time.Duration, voices int) { return s.admission.ClockAhead() }

// Handlers returns what answers the protocol's messages.
func (s *Service) Handlers() *dht.Handlers { return s.handlers }

// Routing returns the routing server that the service forwards to.
func (s *Service) Routing() *routing.Server { return s.routing }

// Upkeep returns what keeps the table true and hands records over.
func (s *Service) Upkeep() *upkeep.Upkeep { return s.upkeep }

// Client returns the client through which the service asks.
func (s *Service) Client() *client.Client { return s.client }

// leaveTimeout is for how long a service that is closed hands its records over.
const leaveTimeout = 2 * time.Second

// Close takes the protocol off the host, hands over what this node may be the only one
// to have (for 2 s at most; see upkeep.Upkeep.Leave), resets the service's streams and
// waits for them.
func (s *Service) Close() error {
	s.switching.Lock()
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	_ = s.switchTo(ModeClient) // fails in the other direction only
	s.switching.Unlock()
	if already {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, leaveTimeout)
	if n := s.upkeep.Leave(ctx); n > 0 {
		s.log.Info("records handed over before leaving", "records", n)
	}
	cancel()
	s.routing.Table().Watch(nil)
	for _, c := range s.routing.Contacts() {
		s.tagContact(c, false)
	}
	return s.closeParts()
}

// closeParts ends what start has made, be it a part of that only.
func (s *Service) closeParts() error {
	s.cancel()
	if s.joiner != nil {
		s.joiner.Close()
	}
	if s.admission != nil {
		s.admission.Close()
	}
	if s.publisher != nil {
		s.publisher.Close()
	}
	if s.upkeep != nil {
		s.upkeep.Close()
	}
	s.closeProxy()
	var err error
	if s.client != nil {
		err = s.client.Close()
		s.router.Close()
	}
	s.tasks.Wait()
	s.summary.Close()
	if s.owned != nil {
		err = errors.Join(err, s.owned.Close())
	}
	return err
}

// begin accounts for a task, unless the service is closing.
func (s *Service) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.tasks.Add(1)
	}
	return !s.closed
}

// summarizeFor is for how long events of one kind are counted and told as one.
const summarizeFor = 10 * time.Second

// serve is the host's handler of the protocol.
func (s *Service) serve(stream network.Stream) {
	if !s.begin() {
		stream.ResetWithError(network.StreamErrorCode(proto.ResetShutdown))
		return
	}
	defer s.tasks.Done()
	if err := stream.Scope().SetService(proto.ServiceName); err != nil {
		s.summary.Info("stream refused by the resource manager", "peer", stream.Conn().RemotePeer(), "err", err)
		stream.ResetWithError(network.StreamErrorCode(proto.ResetRefused))
		return
	}
	conn := stream.Conn()
	p := conn.RemotePeer()
	s.upkeep.Heard(routing.IDFromPeer(p))
	s.mu.Lock()
	ctx := s.serving
	s.mu.Unlock()
	remote := addressing.AddrPortOf(conn.RemoteMultiaddr())
	account := s.handlers.Mux().Budget().OpenPeer(p, remote.Addr())
	defer account.Close()
	session := &server.Session{
		Dialect: server.LibP2P(),
		Peer:    p,
		Remote:  remote,
		Account: account,
		Admit:   func(_ *server.Peer, m *wire.Connect) *wire.Disconnect { return s.admission.Admit(conn, m) },
		Met:     func() bool { return s.Met(p) },
	}
	if err := s.handlers.Mux().Serve(ctx, server.HostStream{Stream: stream}, session); err != nil {
		s.noteEnd(p, err)
	}
	s.admission.ForgetIfGone(p) // the disconnect may have been seen before the session was made
}

// noteEnd logs why a stream of a peer was not closed in order.
func (s *Service) noteEnd(p peer.ID, err error) {
	turned, isTurned := errors.AsType[*server.TurnedAwayError](err)
	switch {
	case isTurned:
		s.summary.Info("peer turned away", "peer", p, "why", turned.Why())
	case proto.ResetCodeOf(err) == proto.ResetGone:
		s.log.Debug("the peer or its connection ended the stream", "peer", p)
	default:
		s.log.Debug("stream reset", "peer", p, "err", err)
	}
}
