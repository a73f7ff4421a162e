package maculadht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Service speaks /macula/dht/1.0 on a host: it answers peers, unless it is a
// client, and introduces itself to those that it connects to and that speak the
// protocol too.
type Service struct {
	*Handlers

	host    host.Host
	client  *Client
	lookups *routing.Lookups
	upkeep  *routing.Upkeep
	joining joinConfig
	budgets *Budgets
	log     *slog.Logger
	owned   *routing.Server // made here, so closed here
	joined  chan struct{}   // closed by hasJoined

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // streams being served and CONNECTs under way

	hasJoined func() // once

	switching sync.Mutex // held while the handler is put on the host or taken off; before mu

	mu          sync.Mutex
	closed      bool
	mode        Mode
	serving     context.Context // ends when the service becomes a client
	stopServing context.CancelFunc
	sessions    map[peer.ID]*peerSession
}

// peerSession is what is kept of a peer while it is connected.
type peerSession struct {
	budget     *rate.Limiter
	release    func()
	introduced network.Conn     // the connection of ours over which a CONNECT was sent
	connect    *routing.Contact // its CONNECT, until it is known to speak the protocol
	lapsed     bool             // it stopped speaking the protocol, so neither side may know the other
}

type serviceConfig struct {
	handlers  []HandlersOption
	client    []ClientOption
	lookups   []routing.Option
	upkeep    []routing.Option
	join      joinConfig
	endpoints routing.Network
	server    *routing.Server
	peerRate  rate.Limit
	peerBurst int
	mode      Mode
	log       *slog.Logger
}

// Option sets a detail of a Service.
type Option func(*serviceConfig) error

// WithHandlers passes options on to the handlers, such as HandleRealm.
func WithHandlers(opts ...HandlersOption) Option {
	return func(c *serviceConfig) error {
		c.handlers = append(c.handlers, opts...)
		return nil
	}
}

// WithRealm sets the realm that is served; DefaultRealm without it.
func WithRealm(realm string) Option { return WithHandlers(HandleRealm(realm)) }

// WithClient passes options on to the client.
func WithClient(opts ...ClientOption) Option {
	return func(c *serviceConfig) error {
		c.client = append(c.client, opts...)
		return nil
	}
}

// WithLookups passes options on to the lookups.
func WithLookups(opts ...routing.Option) Option {
	return func(c *serviceConfig) error {
		c.lookups = append(c.lookups, opts...)
		return nil
	}
}

// WithUpkeep passes options on to the upkeep of the table.
func WithUpkeep(opts ...routing.Option) Option {
	return func(c *serviceConfig) error {
		c.upkeep = append(c.upkeep, opts...)
		return nil
	}
}

// WithEndpoints sets through what contacts without a peer id, which are Erlang
// nodes, are reached by their endpoints. It stays its caller's to close.
func WithEndpoints(n routing.Network) Option {
	return func(c *serviceConfig) error {
		c.endpoints = n
		return nil
	}
}

// WithRouting makes the service forward to server, which stays its caller's to
// close. Its id must be routing.IDFromPeer of the host's. Without it the service
// makes one of its own.
func WithRouting(server *routing.Server) Option {
	return func(c *serviceConfig) error {
		c.server = server
		return nil
	}
}

// WithPeerBudget sets how many frames a second, and at once, one peer is
// served; DefaultPeerRate and DefaultPeerBurst without it, rate.Inf for no
// limit. What is over it is answered busy, or reset with ResetRefused.
func WithPeerBudget(limit rate.Limit, burst int) Option {
	return func(c *serviceConfig) error {
		if limit <= 0 || burst < 1 {
			return fmt.Errorf("peer budget of %v frames a second, %d at once: want at least one", limit, burst)
		}
		c.peerRate, c.peerBurst = limit, burst
		return nil
	}
}

// WithLogger sets where the service logs; nowhere without it.
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
func New(h host.Host, opts ...Option) (*Service, error) {
	cfg := serviceConfig{
		join:      joinConfig{DefaultFirstRetry, DefaultLastRetry, DefaultLookAgain},
		peerRate:  DefaultPeerRate,
		peerBurst: DefaultPeerBurst,
		log:       slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("maculadht: %w", err)
		}
	}
	s := &Service{
		host:     h,
		joining:  cfg.join,
		budgets:  NewBudgets(cfg.peerRate, cfg.peerBurst),
		log:      cfg.log,
		mode:     ModeClient, // until start
		joined:   make(chan struct{}),
		sessions: make(map[peer.ID]*peerSession),
	}
	s.hasJoined = sync.OnceFunc(func() { close(s.joined) })
	self := routing.IDFromPeer(h.ID())
	server := cfg.server
	if server == nil {
		var err error
		if server, err = routing.NewServer(self); err != nil {
			return nil, fmt.Errorf("maculadht: %w", err)
		}
		s.owned = server
	}
	if err := s.start(server, self, cfg); err != nil {
		if s.owned != nil {
			s.owned.Close()
		}
		return nil, fmt.Errorf("maculadht: %w", err)
	}
	return s, nil
}

func (s *Service) start(server *routing.Server, self routing.ID, cfg serviceConfig) error {
	if server.Self() != self {
		return fmt.Errorf("routing server has the id %s, the host's is %s", server.Self(), self)
	}
	var err error
	if s.client, err = NewClient(s.host, cfg.client...); err != nil {
		return err
	}
	started := false
	defer func() {
		if !started {
			s.client.Close()
		}
	}()
	network := router{peers: s.client, endpoints: cfg.endpoints}
	defaults := []HandlersOption{HandleAddrs(s.host.Addrs), HandleNetwork(network)}
	if s.Handlers, err = NewHandlers(server, append(defaults, cfg.handlers...)...); err != nil {
		return err
	}
	if s.lookups, err = routing.NewLookups(server, s.cfg.network, cfg.lookups...); err != nil {
		return err
	}
	if s.upkeep, err = routing.NewUpkeep(s.lookups, cfg.upkeep...); err != nil {
		return err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.watchPeers(); err != nil {
		s.cancel()
		s.upkeep.Close()
		return err
	}
	s.SetMode(cfg.mode)
	started = true
	return nil
}

// Client returns the client through which the service asks.
func (s *Service) Client() *Client { return s.client }

// Close takes the protocol off the host, resets its streams and waits for them.
func (s *Service) Close() error {
	s.switching.Lock()
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	s.switchTo(ModeClient)
	s.switching.Unlock()
	if already {
		return nil
	}
	s.cancel()
	s.upkeep.Close()
	err := s.client.Close()
	s.tasks.Wait()
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

// session returns what is kept of a connected peer; s.mu is held.
func (s *Service) session(p peer.ID) *peerSession {
	ps := s.sessions[p]
	if ps == nil {
		ps = &peerSession{}
		ps.budget, ps.release = s.budgets.Acquire(p.String())
		s.sessions[p] = ps
	}
	return ps
}

// serve is the host's handler of the protocol.
func (s *Service) serve(stream network.Stream) {
	if !s.begin() {
		stream.ResetWithError(network.StreamErrorCode(ResetShutdown))
		return
	}
	defer s.tasks.Done()
	if err := stream.Scope().SetService(ServiceName); err != nil {
		s.log.Debug("stream refused by the resource manager", "peer", stream.Conn().RemotePeer(), "err", err)
		stream.ResetWithError(network.StreamErrorCode(ResetRefused))
		return
	}
	conn := stream.Conn()
	p := conn.RemotePeer()
	s.mu.Lock()
	budget, ctx := s.session(p).budget, s.serving
	s.mu.Unlock()
	session := &Session{
		Dialect: LibP2P(),
		Peer:    p,
		Remote:  addrPortOf(conn.RemoteMultiaddr()),
		Source:  p.String(),
		Budget:  budget,
		Admit: func(_ context.Context, m *wire.Connect) *wire.Disconnect {
			return s.admit(conn, m)
		},
	}
	if err := s.Serve(ctx, hostStream{stream}, session, wire.WithMemory(stream.Scope())); err != nil {
		s.log.Debug("stream ended", "err", err)
	}
	s.forgetIfGone(p) // the disconnect may have been seen before the session was made
}

// hostStream is a libp2p stream as the serving loop wants it.
type hostStream struct{ network.Stream }

func (s hostStream) Reset(code ResetCode) { s.ResetWithError(network.StreamErrorCode(code)) }

// contactOf returns the contact that a peer makes of itself by CONNECT or PONG.
func contactOf(conn network.Conn, nodeID []byte, endpoint string, addrs [][]byte) *routing.Contact {
	p := conn.RemotePeer()
	c := &routing.Contact{
		ID:       routing.IDFromPeer(p),
		NodeID:   nodeID,
		Peer:     p,
		Endpoint: learntEndpoint(endpoint, conn.RemoteMultiaddr()),
		Verified: true, // its connection proves the peer id, and that the id
		LastSeen: time.Now(),
	}
	for _, b := range addrs {
		if a, err := routing.DecodeAddr(b); err == nil {
			if transport, _ := peer.SplitAddr(a); len(transport) > 0 {
				c.Addrs = append(c.Addrs, transport)
			}
		}
	}
	c.Addrs = learnt(c.Addrs, conn.RemoteMultiaddr())
	c.EndpointSeen = isAt(endpoint, conn.RemoteMultiaddr())
	return c
}
