package compat

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// session is one connection of an Erlang node.
type session struct {
	gateway *Gateway
	conn    *quic.Conn
	ip      netip.Addr
	ctx     context.Context // ends with the connection or the gateway

	mu     sync.Mutex
	detach func() // takes the guest that it is off the list
}

// serveConn serves a connection's streams until it ends, or has had none for
// StreamIdle.
func serveConn(g *Gateway, conn *quic.Conn, ip netip.Addr) {
	ctx, cancel := context.WithCancel(conn.Context())
	defer cancel()
	stop := context.AfterFunc(g.ctx, cancel)
	defer stop()
	s := &session{gateway: g, conn: conn, ip: ip, ctx: ctx}
	defer s.leave()

	budget, release := g.budgets.Acquire(ip.String())
	defer release()
	state := &maculadht.Session{
		Dialect: Dialect(),
		Source:  ip.String(),
		Budget:  budget,
		Admit:   s.admit,
	}
	if udp, ok := conn.RemoteAddr().(*net.UDPAddr); ok {
		state.Remote = udp.AddrPort()
	}
	var streams sync.WaitGroup
	defer streams.Wait()
	var open atomic.Int64
	for {
		idle, cancelIdle := context.WithTimeout(ctx, StreamIdle)
		qs, err := conn.AcceptStream(idle)
		cancelIdle()
		switch {
		case err == nil:
		case ctx.Err() == nil && idle.Err() != nil && open.Load() > 0:
			continue // quiet, but in use
		case g.ctx.Err() != nil:
			conn.CloseWithError(quic.ApplicationErrorCode(maculadht.ResetShutdown), "shutting down")
			return
		default:
			conn.CloseWithError(0, "")
			return
		}
		open.Add(1)
		streams.Go(func() {
			defer open.Add(-1)
			if err := g.handlers.Serve(ctx, stream{qs}, state); err != nil {
				g.cfg.log.Debug("stream ended", "err", err)
			}
		})
	}
}

// leave takes the node off the list of those that are connected.
func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.detach != nil {
		s.detach()
		s.detach = nil
	}
}

// admit takes a CONNECT: the node is listed in FIND_NODE replies while its
// connection lives, and becomes a contact once its endpoint has answered.
func (s *session) admit(_ context.Context, m *wire.Connect) *wire.Disconnect {
	contact := routing.Contact{
		ID:       routing.IDFromBytes(m.NodeID),
		NodeID:   bytes.Clone(m.NodeID),
		Endpoint: m.Endpoint,
		LastSeen: time.Now(),
	}
	detach, err := s.gateway.handlers.Routing().AttachGuest(contact)
	if err != nil {
		s.gateway.cfg.log.Debug("node not listed", "from", s.ip, "err", err)
		return nil // it is served all the same
	}
	s.leave() // what an earlier CONNECT said
	s.mu.Lock()
	s.detach = detach
	s.mu.Unlock()
	if s.gateway.cfg.dialer != nil {
		s.gateway.spawn(func() { s.verify(contact) })
	}
	return nil
}

// spawn runs f in a goroutine that Close waits for.
func (g *Gateway) spawn(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.tasks.Go(f)
	}
}

// verifyTimeout is how long an endpoint has to answer a PING.
const verifyTimeout = 15 * time.Second

// verify pings the endpoint that a node names and takes it for a contact if it
// answers. It is not dialled where it could be somebody else's.
func (s *session) verify(contact routing.Contact) {
	log := s.gateway.cfg.log.With("from", s.ip, "endpoint", contact.Endpoint)
	e, err := ParseEndpoint(contact.Endpoint)
	if err != nil {
		return // a node that can not be reached is no contact
	}
	ctx, cancel := context.WithTimeout(s.ctx, verifyTimeout)
	defer cancel()
	select {
	case s.gateway.verify <- struct{}{}:
		defer func() { <-s.gateway.verify }()
	case <-ctx.Done():
		return
	}
	addrs, err := e.resolve(ctx)
	if err != nil || !s.gateway.mayVerify(s.ip, addrs) {
		log.Debug("endpoint not verified: it is not where its node connects from", "resolve_err", err)
		return
	}
	contact.Endpoint = e.String()
	if _, err := maculadht.Ping(ctx, s.gateway.cfg.dialer, contact); err != nil {
		log.Debug("endpoint not verified", "err", err)
		return
	}
	contact.Verified, contact.LastSeen = true, time.Now()
	if err := s.gateway.handlers.Routing().Admit(contact); err != nil {
		log.Debug("endpoint not admitted", "err", err)
		return
	}
	log.Debug("endpoint admitted")
}

// mayVerify reports whether each address that an endpoint stands for is the
// connection's source or within an allowed range; a public node does not get
// us to dial into our own network.
func (g *Gateway) mayVerify(source netip.Addr, addrs []netip.AddrPort) bool {
	for _, a := range addrs {
		ip := a.Addr()
		if ip == source {
			continue
		}
		if isPublic(source) && !isPublic(ip) {
			return false
		}
		allowed := false
		for _, p := range g.cfg.allowed {
			allowed = allowed || p.Contains(ip)
		}
		if !allowed {
			return false
		}
	}
	return len(addrs) > 0
}

func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}
