package peerhost

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	routedhost "github.com/libp2p/go-libp2p/p2p/host/routed"
	basicconnmgr "github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	lprate "github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"

	"github.com/macula-mesh/macula-node/internal/access"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/internal/dials"
)

// Config says what New builds. Every choice is the caller's; the zero value of a switch is off.
type Config struct {
	Key         crypto.PrivKey
	ListenAddrs []ma.Multiaddr        // none: a host that only dials
	Announce    []ma.Multiaddr        // told to others beside the host's own
	Accounts    budget.Limits         // of peers
	Conns       conns.Limits          // of all connections
	Registerer  prometheus.Registerer // of libp2p's metrics
	ConnManager connmgr.ConnManager   // nil: one that keeps ConnsLow to ConnsHigh connections
	ConnsLow    int
	ConnsHigh   int
	Options     []libp2p.Option // of the host, after those that are set here
	Access      *access.Lists   // who may come and is dialled; nil: anybody
	Version     string          // of this program, told to other peers
	Bootstrap   []peer.AddrInfo // where kad-dht begins; none: it waits to be found

	KadServer    bool // answer kad-dht queries, not only ask them; SetKadServer changes it later
	Relay        bool // dial through relays, and reserve a slot on one where the public can not reach the host
	HolePunching bool // turn a relayed connection into a direct one; needs relay
	NATPortMap   bool // ask the router to forward the listening port
}

// Host is a libp2p host on QUIC, with the parts of it that a node needs by name.
// As a host it is routed: it asks Kad for the addresses of a peer that it does not have.
type Host struct {
	host.Host
	Base host.Host              // the host without routing
	QUIC *quicreuse.ConnManager // owns the UDP ports; lives as long as the host
	Kad  *dht.IpfsDHT
	// Conns is what all connections cost, whatever their ALPN.
	Conns *conns.Pool

	gater   connmgr.ConnectionGater // nil: nobody is kept away
	kadHost *kadHost
	hasKad  chan struct{} // closed once Kad is set

	dials      *dials.Limiter
	bootstraps map[peer.ID]bool // whom no limit keeps from being dialled

	mayDial atomic.Pointer[func(netip.AddrPort) bool]
	dialled dialledConns
}

// Dials returns what keeps libp2p from dialling too often who does not answer.
func (h *Host) Dials() *dials.Limiter { return h.dials }

// AskBeforeDials has mayDial be asked of each address before libp2p dials it.
func (h *Host) AskBeforeDials(mayDial func(netip.AddrPort) bool) { h.mayDial.Store(&mayDial) }

// newResourceManager returns libp2p's resource manager, over which stands a pool of the connections of both protocols:
// whom it lets in, and who gives way, decides before the limits of all together do, or of an address, which one attacker
// could fill. Those of a peer and of a protocol's peer are libp2p's.
func newResourceManager(most budget.Limits, connections conns.Limits) (*conns.Manager, error) {
	pool, err := conns.NewPool(connections)
	if err != nil {
		return nil, err
	}
	connections = pool.Limits()
	limits := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&limits)
	scaled := limits.AutoScale()
	roomier := scaled.ToPartialLimitConfig()
	own := roomier.System.ConnsOutbound // what this node itself may dial
	room := rcmgr.LimitVal(connections.Memory/conns.ConnCost) + rcmgr.LimitVal(connections.Handshakes)
	roomier.System.Conns, roomier.System.ConnsInbound = own+room, room
	roomier.Transient.ConnsInbound = rcmgr.LimitVal(connections.Handshakes)
	roomier.Transient.Conns = roomier.Transient.ConnsOutbound + roomier.Transient.ConnsInbound
	roomier.System.Memory = rcmgr.LimitVal64(2 * (connections.Memory + max(connections.Buffered, most.TotalMemory)))
	unlimited := func(l *rcmgr.ResourceLimits) {
		l.Streams, l.StreamsInbound, l.StreamsOutbound, l.Memory = rcmgr.Unlimited, rcmgr.Unlimited, rcmgr.Unlimited, rcmgr.Unlimited64
	}
	roomier.System.Streams, roomier.System.StreamsInbound, roomier.System.StreamsOutbound = rcmgr.Unlimited, rcmgr.Unlimited, rcmgr.Unlimited
	unlimited(&roomier.Transient) // streams of which it is not said yet what is spoken on them
	unlimited(&roomier.ServiceDefault)
	unlimited(&roomier.ProtocolDefault)
	for name, l := range roomier.Service {
		unlimited(&l)
		roomier.Service[name] = l
	}
	for name, l := range roomier.Protocol {
		unlimited(&l)
		roomier.Protocol[name] = l
	}
	resources, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(roomier.Build(scaled)),
		rcmgr.WithLimitPerSubnet([]rcmgr.ConnLimitPerSubnet{}, []rcmgr.ConnLimitPerSubnet{}), // none
		rcmgr.WithConnRateLimiters(&lprate.Limiter{}),                                        // the pool's is in fixed memory
	)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return conns.NewManager(resources, pool), nil
}

// New starts a libp2p host that speaks QUIC alone, and kad-dht on it.
func New(cfg Config) (*Host, error) {
	h := &Host{hasKad: make(chan struct{}), dials: dials.New(), bootstraps: make(map[peer.ID]bool)}
	h.dialled.access = cfg.Access
	for _, b := range cfg.Bootstrap {
		h.bootstraps[b.ID] = true
	}
	resources, err := newResourceManager(cfg.Accounts, cfg.Conns)
	if err != nil {
		return nil, fmt.Errorf("start the resource manager: %w", err)
	}
	h.Conns = resources.Pool()
	names := newNames(cfg.Bootstrap)
	options := []libp2p.Option{
		libp2p.ResourceManager(resources),
		libp2p.Identity(cfg.Key),
		libp2p.UserAgent("macula-node/" + cfg.Version),
		libp2p.NoListenAddrs, // listening comes second, below: a host that can not listen can then still be closed
		libp2p.Transport(h.newTransport),
		libp2p.PrometheusRegisterer(cfg.Registerer),
		shareQUIC(&h.QUIC, cfg.Access, resources, cfg.Registerer),
		libp2p.MultiaddrResolver(names),
		libp2p.EnableAutoNATv2(),
	}
	if cfg.Relay {
		options = append(options, libp2p.EnableRelay(), libp2p.EnableAutoRelayWithPeerSource(h.RelayCandidates))
	} else {
		options = append(options, libp2p.DisableRelay()) // it is on by default
	}
	if cfg.HolePunching {
		options = append(options, libp2p.EnableHolePunching())
	}
	if cfg.NATPortMap {
		options = append(options, libp2p.NATPortMap())
	}
	if len(cfg.Announce) > 0 {
		options = append(options, libp2p.AddrsFactory(func(own []ma.Multiaddr) []ma.Multiaddr {
			return ma.Unique(slices.Concat(cfg.Announce, own))
		}))
	}
	manager := cfg.ConnManager
	if manager == nil {
		if manager, err = basicconnmgr.NewConnManager(cfg.ConnsLow, cfg.ConnsHigh); err != nil {
			return nil, errors.Join(fmt.Errorf("start the connection manager: %w", err), resources.Close())
		}
	}
	options = append(options, libp2p.ConnectionManager(manager))
	if cfg.Access != nil {
		options = append(options, libp2p.ConnectionGater(cfg.Access.Gater()))
	}
	base, err := libp2p.New(append(options, cfg.Options...)...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the libp2p host: %w", err), manager.Close(), resources.Close())
	}
	own := base.Addrs
	names.own.Store(&own)
	if err := base.Network().Listen(cfg.ListenAddrs...); err != nil {
		err = fmt.Errorf("listen on %v (is another program using the UDP port? then stop it, or listen on another): %w", cfg.ListenAddrs, err)
		return nil, errors.Join(err, base.Close())
	}
	if cfg.Relay {
		base.Network().Notify(&network.NotifyBundle{ConnectedF: relayedMayGiveWay})
	}
	if cfg.Access != nil {
		base.Network().Notify(&network.NotifyBundle{ConnectedF: h.closeIfRefused})
	}
	// kad-dht dials its bootstrap peers at once. That must come after listening: before, it would dial from a port
	// of its own, and what the peers then observe would say nothing about the port that we listen on. This is why
	// libp2p.Routing, which builds it before, is not used.
	kad, kadHost, err := newKad(base, cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start kad-dht: %w", err), base.Close())
	}
	h.Base, h.Kad, h.kadHost, h.Host = base, kad, kadHost, routedhost.Wrap(base, kad)
	close(h.hasKad)
	return h, nil
}

// Close stops kad-dht, then the host with its connections and ports.
// What listens on the host's ports must be closed before.
func (h *Host) Close() error {
	return errors.Join(h.Kad.Close(), h.Host.Close())
}

// ConfirmedAddrs returns our public addresses that other peers have reached when asked to try (AutoNAT v2).
func (h *Host) ConfirmedAddrs() []ma.Multiaddr {
	confirmer, ok := h.Base.(interface {
		ConfirmedAddrs() (reachable, unreachable, unknown []ma.Multiaddr)
	})
	if !ok {
		return nil
	}
	reachable, _, _ := confirmer.ConfirmedAddrs()
	return reachable
}

// shareQUIC has the host build its QUIC connection manager as libp2p does by default, and leaves it in *manager,
// so that another ALPN can be served on, and dialled from, the same UDP port.
func shareQUIC(manager **quicreuse.ConnManager, lists *access.Lists, resources *conns.Manager, registerer prometheus.Registerer) libp2p.Option {
	return libp2p.QUICReuse(func(reset quic.StatelessResetKey, token quic.TokenGeneratorKey, lifecycle fx.Lifecycle, more ...quicreuse.Option) (*quicreuse.ConnManager, error) {
		cm, err := quicreuse.NewConnManager(reset, token, append(more,
			quicreuse.ConnContext(letIn(lists, resources.ConnContext)),
			quicreuse.VerifySourceAddress(resources.VerifySourceAddress),
		)...)
		if err != nil {
			return nil, err
		}
		lifecycle.Append(fx.StopHook(cm.Close))
		*manager = cm
		return cm, nil
	}, quicreuse.EnableMetrics(registerer))
}
