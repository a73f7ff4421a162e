package gateway

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// accept takes connections until ln ends, and returns why it did. Those that came
// before that and were not taken are closed too, so no context ends it.
func (g *Gateway) accept(ln Listener) error {
	for {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return err
		}
		if !g.enter(conn) {
			g.cfg.tracer.ConnectionRefused(RefusedClosing)
			closeShutdown(conn)
			continue
		}
		if !g.mayCome(conn) {
			g.refuse(conn, RefusedGated)
			continue
		}
		counted, err := g.conns.Settle(conn)
		if err != nil { // which has closed it
			g.refuse(conn, RefusedResources)
			continue
		}
		ip := remoteIP(conn)
		from, account := g.attend(ip)
		g.tasks.Go(func() {
			opened := time.Now()
			g.cfg.tracer.ConnectionOpened()
			defer func() { g.cfg.tracer.ConnectionClosed(time.Since(opened)) }()
			defer g.leave(conn)
			defer g.part(from, account)
			serveConn(g, conn, counted, ip, from, account)
		})
	}
}

// enter notes a connection, unless the gateway is closed.
func (g *Gateway) enter(conn *quic.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.open[conn] = struct{}{}
	}
	return !g.closed
}

func (g *Gateway) leave(conn *quic.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, conn)
}

func (g *Gateway) refuse(conn *quic.Conn, reason RefusalReason) {
	g.leave(conn)
	g.cfg.tracer.ConnectionRefused(reason)
	g.summary.Info("connection refused", "from", remoteIP(conn), "reason", reason)
}

// mayCome asks the gater of a connection, and closes one that is kept away. It is noted
// before, so that CloseGated finds it where the gater changes its mind meanwhile.
func (g *Gateway) mayCome(conn *quic.Conn) bool {
	at := connAddrs{conn}
	gater := g.cfg.gater
	if gater == nil || gater.InterceptAccept(at) && gater.InterceptSecured(network.DirInbound, "", at) {
		return true
	}
	_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnGated), "connection gated")
	return false
}

// CloseGated asks the gater again of all connections, closes those that it keeps away
// now, and returns how many those are.
func (g *Gateway) CloseGated() (closed int) {
	g.mu.Lock()
	open := make([]*quic.Conn, 0, len(g.open))
	for conn := range g.open {
		open = append(open, conn)
	}
	g.mu.Unlock()
	for _, conn := range open {
		if !g.mayCome(conn) {
			closed++
		}
	}
	return closed
}

// connAddrs are the addresses of a connection, as a gater is asked for them.
type connAddrs struct{ *quic.Conn }

// LocalMultiaddr implements network.ConnMultiaddrs.
func (c connAddrs) LocalMultiaddr() ma.Multiaddr { return multiaddrOf(c.LocalAddr()) }

// RemoteMultiaddr implements network.ConnMultiaddrs.
func (c connAddrs) RemoteMultiaddr() ma.Multiaddr { return multiaddrOf(c.RemoteAddr()) }

func multiaddrOf(addr net.Addr) ma.Multiaddr {
	of, _ := quicreuse.ToQuicMultiaddr(addr, quic.Version1) // a UDP address always has one
	return of
}

func remoteIP(conn *quic.Conn) netip.Addr {
	if udp, ok := conn.RemoteAddr().(*net.UDPAddr); ok {
		return udp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// source is what the connections from one address share beside its account.
type source struct {
	verify chan struct{} // one token for each endpoint that is being pinged
	uses   int           // connections, and sessions that Meet has told of; guarded by Gateway.mu

	sessions atomic.Int64 // in which the node at the address and this one have met
}

// met reports whether a node at the address has CONNECTed, and is still connected: an
// Erlang node makes a connection for each of its lookups.
func (s *source) met() bool { return s.sessions.Load() > 0 }

// Meet has the nodes at an address count as ones that have CONNECTed here, until gone is
// called: there is a gateway, say, that this node has a session with, and which asks over
// connections of its own. It matters to a strict service alone (server.WithStrict).
func (g *Gateway) Meet(ip netip.Addr) (gone func()) {
	s, account := g.attend(ip)
	s.sessions.Add(1)
	return func() {
		s.sessions.Add(-1)
		g.part(s, account)
	}
}

// attend returns what an address has, until part.
func (g *Gateway) attend(ip netip.Addr) (*source, *budget.Account) {
	account := g.handlers.Mux().Budget().OpenAddr(ip)
	name := account.Source().Name
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[name]
	if s == nil {
		s = &source{verify: make(chan struct{}, g.cfg.limits.MaxVerifyPerSource)}
		g.sources[name] = s
	}
	s.uses++
	return s, account
}

func (g *Gateway) part(s *source, account *budget.Account) {
	g.mu.Lock()
	if s.uses--; s.uses == 0 {
		delete(g.sources, account.Source().Name)
	}
	g.mu.Unlock()
	account.Close()
}

// closeShutdown closes a connection as the streams on it are reset.
func closeShutdown(conn *quic.Conn) {
	conn.CloseWithError(quic.ApplicationErrorCode(proto.ResetShutdown), "shutting down")
}
