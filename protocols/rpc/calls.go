package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/internal/announce"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/locator"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/registry"
)

// Calls serves the calls that come to a service, and makes those of a program. It is
// safe for concurrent use.
type Calls struct {
	service  *maculadht.Service
	handlers *dht.Handlers
	clients  *server.Clients
	cfg      config
	self     []byte // this node's id
	links    *links
	locator  *locator.Locator
	adverts  *announce.Announcer // of what streams have registered
	registry *registry.Registry
	requests atomic.Uint64 // ids that were given out
	count    counters

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // procedures that run, and calls that are passed on

	mu        sync.Mutex
	closed    bool
	pending   *fair.Queue[*task] // calls under way
	underWay  map[string]int     // by the source that pays
	waiting   map[waitKey]*task
	providers map[*server.Peer]*provider
	served    map[string]*Procedure
}

// maxAdverts is how many procedures of clients are advertised: more are called by who asks
// this node. advertsRate is how many a second are told anew or withdrawn.
const (
	maxAdverts  = 1024
	advertsRate = 32
)

// New has a service serve calls, from here on until Close. A service has one Calls in
// its life: where it has one the error is a [server.ErrHandled]. Close it before the
// service.
func New(service *maculadht.Service, opts ...Option) (*Calls, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	self := service.Routing().Self()
	c := &Calls{
		service:   service,
		handlers:  service.Handlers(),
		clients:   service.Handlers().Mux().Clients(),
		cfg:       cfg,
		self:      self[:],
		pending:   fair.New[*task](cfg.limits.Pending, fair.Unlimited),
		underWay:  make(map[string]int),
		waiting:   make(map[waitKey]*task),
		providers: make(map[*server.Peer]*provider),
		registry:  registry.New(cfg.limits.Registered, cfg.limits.Procedures),
		served:    make(map[string]*Procedure),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.links = newLinks(c)
	c.locator = locator.New(locator.Config{
		Service: service, Time: cfg.limits.Time, AtOnce: cfg.limits.Lookups, Waiting: cfg.limits.Waiting,
		Spawn: func(f func(context.Context)) bool { return c.spawn(func() { f(c.ctx) }) },
	})
	c.adverts = announce.New(announce.Config{
		Advertise: func(ctx context.Context, procedure string) (*maculadht.Advertisement, error) {
			return service.AdvertiseService(ctx, maculadht.Offer{Name: procedure, Brief: true})
		},
		Names: maxAdverts, NamesPerSource: maxAdverts, Rate: advertsRate, Burst: maxAdverts / 4, Log: cfg.log,
	})
	mux := c.handlers.Mux()
	if err := errors.Join(
		c.handlers.ServeCalls(c),
		mux.Handle(wire.TypeReply, c.serveReply),
		mux.Handle(wire.TypeRPCReply, c.serveRPCReply),
		mux.Handle(wire.TypeRegisterProcedure, c.serveRegistration),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("rpc: %w", err), c.Close())
	}
	return c, nil
}

// Close withdraws what is served, answers what is under way with an error, and waits
// for the procedures that run, whose contexts end. Calls that come later are refused.
// That others know of it is waited for 1.5 s at most.
func (c *Calls) Close() error {
	c.mu.Lock()
	already := c.closed
	c.closed = true
	var served []*maculadht.Advertisement
	for _, p := range c.served {
		if p.offer != nil {
			served = append(served, p.offer)
		}
	}
	clear(c.served)
	c.mu.Unlock()
	if already {
		return nil
	}
	c.cancel()
	err := c.adverts.Close(served...)
	c.links.close()
	for _, t := range c.awaited() {
		c.finish(t, outcome.Of(outcome.Closing))
	}
	c.tasks.Wait()
	return err
}

// spawn runs f in a goroutine that Close waits for. It reports false where that is
// under way.
func (c *Calls) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.tasks.Go(f)
	return true
}

// Stats counts what became of calls since New.
type Stats struct {
	Calls    uint64 // taken, whoever called
	Answered uint64 // of them with a result
	Failed   uint64 // with an error, be it the provider's
	Late     uint64 // that nobody answered in time
	// Refused as too many were under way: of the caller, of all, or for who was to answer.
	// Those of the last two that others gave way to are among Calls and Failed.
	BusyCaller, BusyAll, BusyProvider uint64
	PassedOn                          uint64 // to another node of ours
	Requests                          uint64 // RPC_REQUESTs that went from an Erlang node to another as they came
	Stray                             uint64 // answers that nobody waits for, or that are not their sender's to give
	Harmful                           uint64 // frames that were not passed on, as an Erlang node would not survive them
	Pending                           int    // calls that are under way now
	Procedures                        int    // that programs serve, or streams have registered
	Providers                         int    // streams that have been asked, or have registered procedures
}

type counters struct {
	calls, answered, failed, late, passedOn, requests, stray, harmful, busyCaller, busyAll, busyProvider atomic.Uint64
}

// Stats returns the counters.
func (c *Calls) Stats() Stats {
	c.mu.Lock()
	pending, providers, procedures := c.pending.Weight(), len(c.providers), len(c.served)+c.registry.Len()
	c.mu.Unlock()
	n := &c.count
	return Stats{
		Calls: n.calls.Load(), Answered: n.answered.Load(), Failed: n.failed.Load(), Late: n.late.Load(),
		BusyCaller: n.busyCaller.Load(), BusyAll: n.busyAll.Load(), BusyProvider: n.busyProvider.Load(),
		PassedOn: n.passedOn.Load(), Requests: n.requests.Load(), Stray: n.stray.Load(), Harmful: n.harmful.Load(),
		Pending: pending, Procedures: procedures, Providers: providers,
	}
}
