// Package router sends what a service asks the way that leads to whom it asks.
package router

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	corerouting "github.com/libp2p/go-libp2p/core/routing"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Config is what a Router works with.
type Config struct {
	Host   host.Host
	Client *client.Client // asks libp2p peers
	// Contacts are those whose addresses may be sought.
	Contacts *routing.Server
	// Endpoints asks Erlang nodes; nil where nothing does.
	Endpoints routing.Network
	// PeerRouting finds the addresses of peers without any; nil where nothing does.
	PeerRouting corerouting.PeerRouting
	Log         *slog.Logger
}

// Router reaches a contact the way that it is given: by its peer id over
// /macula/dht/1.0, else by its endpoint through whoever dials those. Of the libp2p
// peers that have no address it seeks those that are contacts of ours, and no other:
// any peer can name as many as it likes. It is safe for concurrent use.
type Router struct {
	cfg    Config
	finder *finder // nil where nothing finds peers
	clock  clockNote
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

var _ routing.Network = (*Router)(nil)

// New returns a router. Close it when nobody asks through it any more.
func New(cfg Config) *Router {
	r := &Router{cfg: cfg}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if cfg.PeerRouting != nil {
		r.finder = newFinder(cfg.Host, cfg.PeerRouting, r.spawn)
	}
	return r
}

// Close ends the searches for peers that are under way.
func (r *Router) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.tasks.Wait()
}

// spawn runs f in a goroutine that Close ends and waits for.
func (r *Router) spawn(f func(context.Context)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return proto.ErrClosed
	}
	r.tasks.Go(func() { f(r.ctx) })
	return nil
}

// Send implements routing.Network.
func (r *Router) Send(ctx context.Context, to routing.Contact, m wire.Message) error {
	return r.send(ctx, to, m, false)
}

// Query implements routing.Network.
func (r *Router) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	return r.query(ctx, to, m, false)
}

// Anybody returns the router as it is for those whom somebody here has named, not a
// peer: it seeks who is no contact, too.
func (r *Router) Anybody() routing.Network { return anybody{r} }

type anybody struct{ *Router }

// Send implements routing.Network.
func (a anybody) Send(ctx context.Context, to routing.Contact, m wire.Message) error {
	return a.send(ctx, to, m, true)
}

// Query implements routing.Network.
func (a anybody) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	return a.query(ctx, to, m, true)
}

func (r *Router) send(ctx context.Context, to routing.Contact, m wire.Message, anybody bool) error {
	via, err := r.via(ctx, &to, anybody)
	if err != nil {
		return err
	}
	err = via.Send(ctx, to, m)
	r.noteClock(to, err)
	return err
}

func (r *Router) query(ctx context.Context, to routing.Contact, m wire.Message, anybody bool) (wire.Message, error) {
	via, err := r.via(ctx, &to, anybody)
	if err != nil {
		return nil, err
	}
	reply, err := via.Query(ctx, to, m)
	r.noteClock(to, err)
	return reply, err
}

// via returns what asks a contact, which has addresses then if it needs some.
func (r *Router) via(ctx context.Context, to *routing.Contact, anybody bool) (routing.Network, error) {
	switch {
	case !to.IsErlang():
		return r.cfg.Client, r.locate(ctx, to, anybody)
	case r.cfg.Endpoints != nil:
		return r.cfg.Endpoints, nil
	default:
		return nil, fmt.Errorf("%w: nothing here dials %q", proto.ErrUnreachable, to.Endpoint)
	}
}

// Connect connects to a peer, where there is no connection: at once, though the swarm
// would wait after failures.
func (r *Router) Connect(ctx context.Context, p peer.AddrInfo) error {
	if sw, ok := r.cfg.Host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(p.ID) // the pace is the caller's: the swarm's own grows to minutes
	}
	at := routing.Contact{Peer: p.ID, Addrs: p.Addrs}
	if err := r.locate(ctx, &at, true); err != nil {
		return err
	}
	p.Addrs = at.Addrs
	err := r.cfg.Host.Connect(ctx, p)
	r.noteClock(at, err)
	return err
}

// locate gives a contact addresses where it has none that anybody knows. Unless anybody
// may be sought only contacts of ours are.
func (r *Router) locate(ctx context.Context, c *routing.Contact, anybody bool) error {
	h := r.cfg.Host
	if r.finder == nil || len(c.Addrs) > 0 ||
		h.Network().Connectedness(c.Peer) == network.Connected || len(h.Peerstore().Addrs(c.Peer)) > 0 {
		return nil
	}
	if _, ours := r.cfg.Contacts.Contact(c.ID); !ours && !anybody {
		return fmt.Errorf("%w: peer %s has no known address", proto.ErrUnreachable, c.Peer)
	}
	var err error
	c.Addrs, err = r.finder.find(ctx, c.Peer)
	return err
}
