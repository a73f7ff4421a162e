package dht

import (
	"errors"
	"fmt"
	"sync/atomic"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Handlers answer the DHT's messages. They hold no records and no contacts of their
// own: each forwards to the routing server. They are safe for concurrent use.
type Handlers struct {
	routes *routing.Server
	cfg    config
	nodeID []byte // the routing server's id
	mux    *server.Mux
	askers *server.PerPeer[asker]
	count  counters

	listens atomic.Pointer[func() string] // tells the endpoint where no option does
	calls   atomic.Pointer[Calls]         // serves other procedures than the DHT's; nil for nobody
}

// New returns handlers that forward to routes, and have a mux hand them the DHT's
// messages. It fails with [server.ErrHandled] where others take one of them.
func New(mux *server.Mux, routes *routing.Server, opts ...Option) (*Handlers, error) {
	cfg, err := configOf(opts)
	if err != nil {
		return nil, err
	}
	if cfg.verifier == nil {
		cfg.verifier = signed.NewVerifier(cfg.realm)
	}
	h := &Handlers{mux: mux, routes: routes, askers: server.NewPerPeer(newAsker), cfg: cfg}
	self := routes.Self()
	h.nodeID = self[:]
	if err := h.register(); err != nil {
		return nil, fmt.Errorf("dht: %w", err)
	}
	return h, nil
}

// configOf returns what some options make of the defaults.
func configOf(opts []Option) (config, error) {
	c := config{
		realm: proto.DefaultRealm,
		addrs: func() []ma.Multiaddr { return nil },
	}
	for _, opt := range opts {
		if opt == nil {
			return c, errors.New("dht: a nil option")
		}
		if err := opt(&c); err != nil {
			return c, fmt.Errorf("dht: %w", err)
		}
	}
	return c, nil
}

// Mux returns what serves streams with these handlers, and takes those of other
// messages.
func (h *Handlers) Mux() *server.Mux { return h.mux }

// Realm returns the realm that is served.
func (h *Handlers) Realm() string { return h.cfg.realm }

// Endpoint returns this node's endpoint, "https://host:port" or nothing; see
// WithEndpoint.
func (h *Handlers) Endpoint() string {
	if h.cfg.endpoint != nil {
		return h.cfg.endpoint()
	}
	if listens := h.listens.Load(); listens != nil {
		return (*listens)()
	}
	return ""
}

// ListenAt sets where the endpoint is read from that is told where WithEndpoint sets
// nothing: a gateway says so where it listens.
func (h *Handlers) ListenAt(endpoint func() string) { h.listens.Store(&endpoint) }

// EndpointFor returns the endpoint as a node is told it that reaches us so far:
// nothing where it can not lead here from there, as a loopback address from another
// machine.
func (h *Handlers) EndpointFor(reach addressing.Reach) string { return reach.Endpoint(h.Endpoint()) }

// AddrsFor returns the multiaddrs, see WithAddrs, as a node is told them that reaches
// us so far: those that can lead here from there.
func (h *Handlers) AddrsFor(reach addressing.Reach) []ma.Multiaddr { return reach.Addrs(h.cfg.addrs()) }

// Routing returns the routing server that the handlers forward to.
func (h *Handlers) Routing() *routing.Server { return h.routes }

// register has the DHT's messages handled.
func (h *Handlers) register() error {
	var errs error
	for t, serve := range map[wire.Type]func(*asker, framing.Frame) error{
		wire.TypeFindValue:  h.serveFindValue,
		wire.TypeFindNode:   h.serveFindNode,
		wire.TypeCall:       h.serveCall,
		wire.TypeStore:      h.serveStore,
		wire.TypePing:       h.servePing,
		wire.TypeConnect:    h.serveConnect,
		wire.TypeNATProbe:   h.serveNATProbe,
		wire.TypeRPCRequest: h.serveRPCRequest,
		wire.TypeRPCRoute:   h.serveRPCRoute,
	} {
		errs = errors.Join(errs, h.mux.Handle(t, func(p *server.Peer, f framing.Frame) error { return serve(h.askers.Of(p), f) }))
	}
	for t, refusal := range map[wire.Type]server.Refusal{
		wire.TypeFindValue:  refuseFindValue,
		wire.TypeFindNode:   refuseFindNode,
		wire.TypeCall:       refuseCall,
		wire.TypeRPCRequest: h.refuseRPCRequest,
		wire.TypeRPCRoute:   h.refuseRPCRoute,
	} {
		errs = errors.Join(errs, h.mux.Refuse(t, refusal))
	}
	return errors.Join(errs, h.mux.Open(wire.TypeCall, opensDoors))
}

// broken returns err unless it is about a field, which the caller answers.
func broken(err error) (field *wire.FieldError, fatal error) {
	if field, ok := errors.AsType[*wire.FieldError](err); ok {
		return field, nil
	}
	return nil, err
}

// orUndefined gives the id back, or what the reference says where there is
// none.
func orUndefined(id []byte) []byte {
	if id == nil {
		return []byte(wire.UndefinedID)
	}
	return id
}
