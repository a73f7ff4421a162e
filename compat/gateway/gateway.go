package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// summarizeFor is for how long events of one kind are counted and told as one.
const summarizeFor = 10 * time.Second

// Gateway serves Erlang nodes.
type Gateway struct {
	handlers *dht.Handlers
	cfg      config

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	close  func() error
	verify chan struct{} // one token for each endpoint that is being pinged

	summary *logs.Summary

	conns *conns.Manager // of the ports of ListenOn

	mu       sync.Mutex
	closed   bool
	bindings []*binding
	sources  map[string]*source
}

// source is what the connections from one address share beside its account.
type source struct {
	verify chan struct{} // one token for each endpoint that is being pinged
	conns  int           // guarded by Gateway.mu

	sessions atomic.Int64 // connections on which a CONNECT was taken
}

// met reports whether a node at the address has CONNECTed, and is still connected: an
// Erlang node makes a connection for each of its lookups.
func (s *source) met() bool { return s.sessions.Load() > 0 }

// New returns a gateway that serves through handlers, once it is given something to
// Listen on or a port to ListenOn. Close it, before the service of the handlers.
//
// Peers are told its Endpoint, unless the handlers have one of their own
// (dht.WithEndpoint).
func New(handlers *dht.Handlers, opts ...Option) (*Gateway, error) {
	if handlers == nil {
		return nil, errors.New("gateway: no handlers")
	}
	cfg := config{limits: DefaultLimits(), log: logs.Logger("gateway"), tracer: noTracer{}}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("gateway: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
	}
	g := &Gateway{
		handlers: handlers,
		cfg:      cfg,
		verify:   make(chan struct{}, cfg.limits.MaxVerify),
		sources:  make(map[string]*source),
	}
	pool, err := conns.NewPool(cfg.limits.Conns)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.conns = conns.NewManager(&network.NullResourceManager{}, pool)
	g.summary = logs.NewSummary(cfg.log, summarizeFor)
	g.close = sync.OnceValue(g.shutdown)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	handlers.ListenAt(g.Endpoint)
	return g, nil
}

// Close stops listening, resets all streams and waits for them. Further calls
// return what the first did.
func (g *Gateway) Close() error { return g.close() }

func (g *Gateway) shutdown() error {
	g.mu.Lock()
	g.closed = true
	var open []bound
	for _, b := range g.bindings {
		open = append(open, b.bound)
	}
	g.mu.Unlock()
	g.cancel()
	var errs error
	for _, b := range open {
		errs = errors.Join(errs, b.closeListener())
	}
	g.tasks.Wait()
	g.summary.Close()
	for _, b := range open {
		errs = errors.Join(errs, b.closePort())
	}
	return errors.Join(errs, g.conns.Close())
}

// accept takes connections until ln ends, and returns why it did. Those that came
// before that and were not taken are closed too, so no context ends it.
func (g *Gateway) accept(ln Listener) error {
	for {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return err
		}
		ip := remoteIP(conn)
		from, account, refusal := g.admit(ip)
		if refusal != "" {
			g.refuse(conn, ip, refusal)
			continue
		}
		g.tasks.Go(func() {
			opened := time.Now()
			g.cfg.tracer.ConnectionOpened()
			defer func() { g.cfg.tracer.ConnectionClosed(time.Since(opened)) }()
			defer g.release(from, account)
			serveConn(g, conn, ip, from, account)
		})
	}
}

func (g *Gateway) refuse(conn *quic.Conn, ip netip.Addr, reason RefusalReason) {
	g.cfg.tracer.ConnectionRefused(reason)
	if reason == RefusedClosing {
		closeShutdown(conn)
		return
	}
	g.summary.Info("connection refused: too many", "from", ip, "limit_of", reason)
	conn.CloseWithError(quic.ApplicationErrorCode(proto.ResetRefused), "too many connections")
}

func remoteIP(conn *quic.Conn) netip.Addr {
	if udp, ok := conn.RemoteAddr().(*net.UDPAddr); ok {
		return udp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// admit counts a connection, or says why it is not served.
func (g *Gateway) admit(ip netip.Addr) (*source, *budget.Account, RefusalReason) {
	account := g.handlers.Mux().Budget().OpenAddr(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		account.Close()
		return nil, nil, RefusedClosing
	}
	if err := account.OpenConn(); err != nil {
		account.Close()
		reason := RefusedTotal
		if limit, ok := errors.AsType[*budget.LimitError](err); ok {
			reason = RefusalReason(limit.Scope)
		}
		return nil, nil, reason
	}
	name := account.Source().Name
	s := g.sources[name]
	if s == nil {
		s = &source{verify: make(chan struct{}, g.cfg.limits.MaxVerifyPerSource)}
		g.sources[name] = s
	}
	s.conns++
	return s, account, ""
}

func (g *Gateway) release(s *source, account *budget.Account) {
	g.mu.Lock()
	if s.conns--; s.conns == 0 {
		delete(g.sources, account.Source().Name)
	}
	g.mu.Unlock()
	account.CloseConn()
	account.Close()
}
