package compat

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// How many connections a gateway serves, unless an option says otherwise. An
// Erlang node opens one for each lookup, and one more for each gateway each
// time that it asks for them.
const (
	DefaultMaxConns      = 4096
	DefaultMaxConnsPerIP = 256
)

// Listener hands out QUIC connections whose ALPN is "macula": a *quic.Listener,
// or a quicreuse.Listener on the port of a libp2p host.
type Listener interface {
	Accept(ctx context.Context) (*quic.Conn, error)
	Addr() net.Addr
	Close() error
}

// Gateway serves Erlang nodes.
type Gateway struct {
	handlers *maculadht.Handlers
	cfg      gatewayConfig
	budgets  *maculadht.Budgets

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	verify chan struct{} // one token for each endpoint that is being pinged

	mu        sync.Mutex
	closed    bool
	listeners []Listener
	conns     int
	perIP     map[netip.Addr]int
}

type gatewayConfig struct {
	dialer    *Dialer
	allowed   []netip.Prefix
	maxConns  int
	maxPerIP  int
	peerRate  rate.Limit
	peerBurst int
	log       *slog.Logger
}

// GatewayOption sets a detail of a Gateway.
type GatewayOption func(*gatewayConfig)

// VerifyThrough makes the gateway ping the endpoint of a node that CONNECTed,
// and take the node for a contact once it has answered. Without it such nodes
// are listed to others while they are connected, and no more.
func VerifyThrough(d *Dialer) GatewayOption { return func(c *gatewayConfig) { c.dialer = d } }

// AllowEndpoints lets endpoints within the prefixes be verified though their
// node connects from another address. Without it only the connection's own
// source address is. Private and loopback endpoints of a node that connects
// from a public address are refused whatever is allowed.
func AllowEndpoints(prefixes ...netip.Prefix) GatewayOption {
	return func(c *gatewayConfig) { c.allowed = append(c.allowed, prefixes...) }
}

// MaxConns sets how many connections are served, in all and from one IP
// address. What is over it is closed with maculadht.ResetRefused.
func MaxConns(total, perIP int) GatewayOption {
	return func(c *gatewayConfig) { c.maxConns, c.maxPerIP = total, perIP }
}

// PeerBudget sets how many frames a second, and at once, one IP address is
// served; see maculadht.WithPeerBudget.
func PeerBudget(limit rate.Limit, burst int) GatewayOption {
	return func(c *gatewayConfig) { c.peerRate, c.peerBurst = limit, burst }
}

// GatewayLogger sets where the gateway logs; nowhere without it.
func GatewayLogger(log *slog.Logger) GatewayOption { return func(c *gatewayConfig) { c.log = log } }

// NewGateway returns a gateway that serves through handlers, once it is given
// something to Listen on. Close it.
func NewGateway(handlers *maculadht.Handlers, opts ...GatewayOption) *Gateway {
	g := &Gateway{
		handlers: handlers,
		cfg: gatewayConfig{
			maxConns:  DefaultMaxConns,
			maxPerIP:  DefaultMaxConnsPerIP,
			peerRate:  maculadht.DefaultPeerRate,
			peerBurst: maculadht.DefaultPeerBurst,
			log:       slog.New(slog.DiscardHandler),
		},
		verify: make(chan struct{}, 8),
		perIP:  make(map[netip.Addr]int),
	}
	for _, opt := range opts {
		opt(&g.cfg)
	}
	g.budgets = maculadht.NewBudgets(g.cfg.peerRate, g.cfg.peerBurst)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Listen serves the connections of ln, which the gateway closes with itself. It
// returns at once; after Close it fails with maculadht.ErrClosed.
func (g *Gateway) Listen(ln Listener) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return maculadht.ErrClosed
	}
	g.listeners = append(g.listeners, ln)
	g.tasks.Go(func() { g.accept(ln) })
	return nil
}

// ListenOn opens a UDP port of the gateway's own, such as "0.0.0.0:9443", and
// serves it. It is how a gateway is put beside a host that someone else built.
// It returns the address, whose port is a free one where 0 was asked for.
func (g *Gateway) ListenOn(address string, cert tls.Certificate) (netip.AddrPort, error) {
	ln, err := quic.ListenAddr(address, ServerTLS(cert), &quic.Config{
		MaxIncomingStreams:    256,
		MaxIncomingUniStreams: -1, // an Erlang node opens none
		KeepAlivePeriod:       20 * time.Second,
		MaxIdleTimeout:        60 * time.Second,
	})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("compat: listen on UDP %s: %w", address, err)
	}
	if err := g.Listen(ln); err != nil {
		ln.Close()
		return netip.AddrPort{}, err
	}
	return ln.Addr().(*net.UDPAddr).AddrPort(), nil
}

// Close stops listening, resets all streams and waits for them.
func (g *Gateway) Close() error {
	g.mu.Lock()
	already := g.closed
	g.closed = true
	listeners := g.listeners
	g.mu.Unlock()
	if already {
		return nil
	}
	g.cancel()
	var errs error
	for _, ln := range listeners {
		errs = errors.Join(errs, ln.Close())
	}
	g.tasks.Wait()
	return errs
}

func (g *Gateway) accept(ln Listener) {
	for {
		conn, err := ln.Accept(g.ctx)
		if err != nil {
			if g.ctx.Err() == nil {
				g.cfg.log.Error("macula listener ended", "addr", ln.Addr(), "err", err)
			}
			return
		}
		ip := remoteIP(conn)
		if !g.admit(ip) {
			g.cfg.log.Debug("connection refused: too many", "from", ip)
			conn.CloseWithError(quic.ApplicationErrorCode(maculadht.ResetRefused), "too many connections")
			continue
		}
		g.tasks.Go(func() {
			defer g.release(ip)
			serveConn(g, conn, ip)
		})
	}
}

func remoteIP(conn *quic.Conn) netip.Addr {
	if udp, ok := conn.RemoteAddr().(*net.UDPAddr); ok {
		return udp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

func (g *Gateway) admit(ip netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.conns >= g.cfg.maxConns || g.perIP[ip] >= g.cfg.maxPerIP {
		return false
	}
	g.conns++
	g.perIP[ip]++
	return true
}

func (g *Gateway) release(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns--
	if g.perIP[ip]--; g.perIP[ip] == 0 {
		delete(g.perIP, ip)
	}
}
