package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
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

	conns *conns.Manager // of the connections that nobody else counts

	mu       sync.Mutex
	closed   bool
	bindings []*binding
	open     map[*quic.Conn]struct{} // that are served, or are about to be
	sources  map[string]*source      // by their accounts' names
}

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
		open:     make(map[*quic.Conn]struct{}),
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
