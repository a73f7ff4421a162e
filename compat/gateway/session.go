package gateway

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// session is one connection of an Erlang node.
type session struct {
	gateway *Gateway
	ip      netip.Addr
	source  *source
	ctx     context.Context // ends with the connection or the gateway

	sayTurnedAway sync.Once

	mu        sync.Mutex
	begun     time.Time        // with the first CONNECT
	detach    func()           // takes the guest that it is from those that count
	claim     *routing.Contact // the newest CONNECT, until it is being verified
	verifying bool
}

// serveConn serves a connection's streams until it ends, or has had none for
// Limits.Idle.
func serveConn(g *Gateway, conn *quic.Conn, on *conns.Conn, ip netip.Addr, from *source, account *budget.Account) {
	ctx, cancel := context.WithCancel(conn.Context())
	defer cancel()
	stop := context.AfterFunc(g.ctx, cancel)
	defer stop()
	s := &session{gateway: g, ip: ip, source: from, ctx: ctx}
	defer s.leave()

	state := &server.Session{Dialect: server.Erlang(), Account: account, Admit: s.admit, TurnedAway: s.turnedAway, Met: from.met}
	state.Dialect.Idle = g.cfg.limits.Idle
	if udp, ok := conn.RemoteAddr().(*net.UDPAddr); ok {
		state.Remote = udp.AddrPort()
	}
	var streams sync.WaitGroup
	defer streams.Wait()
	var open atomic.Int64
	for {
		idle, cancelIdle := context.WithTimeout(ctx, g.cfg.limits.Idle)
		qs, err := conn.AcceptStream(idle)
		cancelIdle()
		switch {
		case err == nil:
		case ctx.Err() == nil && idle.Err() != nil && open.Load() > 0:
			continue // quiet, but in use
		case g.ctx.Err() != nil:
			closeShutdown(conn)
			return
		default:
			conn.CloseWithError(0, "")
			return
		}
		open.Add(1)
		streams.Go(func() {
			defer open.Add(-1)
			counted := on.OpenStream()
			defer counted.Done()
			if err := g.handlers.Mux().Serve(g.ctx, stream{dialer.Stream{Stream: qs}, counted}, state); err != nil {
				s.noteEnd(err)
			}
		})
	}
}

// stream is one whose buffers count on its connection.
type stream struct {
	dialer.Stream
	counted *conns.Stream
}

// Active implements server.Activity.
func (s stream) Active() { s.counted.Active() }

// ReserveMemory implements framing.Memory.
func (s stream) ReserveMemory(size int, prio uint8) error { return s.counted.ReserveMemory(size, prio) }

// ReleaseMemory implements framing.Memory.
func (s stream) ReleaseMemory(size int) { s.counted.ReleaseMemory(size) }

// leave takes the node from those that are connected, and ends its
// session.
func (s *session) leave() {
	s.list(nil)
	s.mu.Lock()
	begun := s.begun
	s.mu.Unlock()
	if !begun.IsZero() {
		s.source.sessions.Add(-1)
		s.gateway.summary.Info("Erlang node left", "from", s.ip, "after", time.Since(begun).Round(time.Millisecond))
		s.gateway.cfg.tracer.SessionEnded(time.Since(begun))
	}
}

// noteEnd logs why a stream was not closed in order.
func (s *session) noteEnd(err error) {
	switch log := s.gateway.cfg.log; {
	case proto.ResetCodeOf(err) == proto.ResetGone:
		log.Debug("the node or its connection ended the stream", "from", s.ip)
	default:
		log.Debug("stream reset", "from", s.ip, "err", err)
	}
}

// turnedAway logs, once, that the node was refused; its streams go on.
func (s *session) turnedAway(why *wire.Disconnect) {
	s.sayTurnedAway.Do(func() {
		s.gateway.summary.Info("Erlang node turned away", "from", s.ip, "reason", why.Reason, "why", why.Message)
	})
}

// begin notes that there is a session.
func (s *session) begin(m *wire.Connect) {
	s.mu.Lock()
	first := s.begun.IsZero()
	if first {
		s.begun = time.Now()
		s.source.sessions.Add(1)
	}
	s.mu.Unlock()
	if first {
		s.gateway.summary.Info("Erlang node came", "from", s.ip, "endpoint", m.Endpoint)
		s.gateway.cfg.tracer.SessionBegun()
	}
}

// list replaces what an earlier CONNECT has put on the list.
func (s *session) list(detach func()) {
	s.mu.Lock()
	earlier := s.detach
	s.detach = detach
	s.mu.Unlock()
	if earlier != nil {
		earlier()
	}
}

// admit takes a CONNECT: the node counts as a guest while its connection lives,
// and becomes a contact once its endpoint has answered.
func (s *session) admit(_ *server.Peer, m *wire.Connect) *wire.Disconnect {
	s.begin(m)
	contact := routing.Contact{
		ID:       routing.IDFromBytes(m.NodeID),
		NodeID:   bytes.Clone(m.NodeID),
		Endpoint: m.Endpoint,
		LastSeen: time.Now(),
	}
	detach, err := s.gateway.handlers.Routing().AttachGuest(contact)
	if err != nil {
		s.gateway.cfg.log.Debug("node not counted as a guest", "from", s.ip, "err", err)
		return nil // it is served all the same
	}
	s.list(detach)
	if s.gateway.cfg.dialer != nil {
		s.claims(contact)
	}
	return nil
}

// claims has a contact verified, one at a time and the newest next, however
// often the node CONNECTs.
func (s *session) claims(contact routing.Contact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claim = &contact
	if !s.verifying {
		s.verifying = true
		s.gateway.spawn(s.verifyClaims)
	}
}

func (s *session) verifyClaims() {
	for {
		s.mu.Lock()
		claim := s.claim
		s.claim = nil
		s.verifying = claim != nil
		s.mu.Unlock()
		if claim == nil {
			return
		}
		s.verify(*claim)
	}
}

// spawn runs f in a goroutine that Close waits for.
func (g *Gateway) spawn(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.tasks.Go(f)
	}
}

// verify takes a node for a contact if it answers at the endpoint that it names,
// where that is its own.
func (s *session) verify(contact routing.Contact) {
	log := s.gateway.cfg.log.With("from", s.ip, "endpoint", contact.Endpoint)
	if _, err := endpoints.Parse(contact.Endpoint); err != nil {
		return // a node that can not be reached is no contact
	}
	for _, turn := range []chan struct{}{s.source.verify, s.gateway.verify} { // its own first: it holds up nobody else
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-s.ctx.Done():
			return
		}
	}
	contact, err := s.gateway.cfg.dialer.Verify(s.ctx, contact, func(ip netip.Addr) bool { return s.gateway.mayVerify(s.ip, ip) })
	if err != nil {
		s.gateway.summary.Info("Erlang node is no contact: its endpoint was not verified", "from", s.ip, "endpoint", contact.Endpoint, "why", err)
		return
	}
	if err := s.gateway.handlers.Routing().Admit(contact); err != nil {
		log.Debug("endpoint not admitted", "err", err)
		return
	}
	s.gateway.summary.Info("Erlang node is a contact: its endpoint answered", "from", s.ip, "endpoint", contact.Endpoint)
}

// mayVerify reports whether an address that an endpoint stands for is the
// connection's source or within an allowed range; a public node does not get
// us to dial into our own network.
func (g *Gateway) mayVerify(source, ip netip.Addr) bool {
	switch {
	case ip == source:
		return true
	case dialer.IsPublic(source) && !dialer.IsPublic(ip):
		return false
	}
	return slices.ContainsFunc(g.cfg.allowed, func(p netip.Prefix) bool { return p.Contains(ip) })
}
