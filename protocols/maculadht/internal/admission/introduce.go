package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// Introduce sends our CONNECT over a connection, and admits the peer after its PONG.
// One of our making is not introduced once more when the host tells of it.
func (a *Admission) Introduce(conn network.Conn) error {
	p := conn.RemotePeer()
	a.mu.Lock()
	if conn.Stat().Direction == network.DirOutbound && !a.closed {
		a.sessionOf(p).introduced = conn
	}
	a.mu.Unlock()
	err := a.introduce(conn)
	a.ForgetIfGone(p)
	return err
}

// introduceOver sends our CONNECT over a connection until it is answered, or the
// connection is no more the one to send it over, a few times at most.
func (a *Admission) introduceOver(conn network.Conn) {
	p := conn.RemotePeer()
	pause := connectPause
	for try := 1; ; try++ {
		err := a.introduce(conn)
		if err == nil || a.ctx.Err() != nil {
			return
		}
		// Whoever has answered would answer the same again.
		again := try < connectTries && (errors.Is(err, proto.ErrUnreachable) || errors.Is(err, client.ErrBroken))
		a.cfg.Summary.Info("peer not admitted", "peer", p, "again", again, "err", err)
		if !again || !a.pause(pause) {
			return
		}
		a.mu.Lock()
		ps := a.sessions[p]
		current := ps != nil && ps.introduced == conn && !conn.IsClosed()
		a.mu.Unlock()
		if !current {
			return
		}
		pause *= 2
	}
}

// whereWeAre returns all that a CONNECT could tell a peer of how to reach us.
func (a *Admission) whereWeAre() string {
	addrs := slices.Clone(a.cfg.Host.Addrs())
	slices.SortFunc(addrs, func(a, b ma.Multiaddr) int { return a.Compare(b) })
	return fmt.Sprint(a.cfg.Handlers.Endpoint(), addrs)
}

// introduceAgain tells the peers that know us where we are now.
func (a *Admission) introduceAgain() {
	var conns []network.Conn
	a.mu.Lock()
	for p, ps := range a.sessions {
		conn := ps.introduced
		if conn == nil && !ps.came.IsZero() {
			for _, c := range a.cfg.Host.Network().ConnsToPeer(p) {
				if !c.Stat().Limited {
					conn = c
				}
			}
		}
		if conn != nil && !conn.IsClosed() {
			conns = append(conns, conn)
		}
	}
	a.mu.Unlock()
	if len(conns) == 0 || !a.begin() {
		return
	}
	go func() {
		defer a.tasks.Done()
		var tell errgroup.Group
		tell.SetLimit(tellAtOnce)
		for _, conn := range conns {
			tell.Go(func() error {
				if err := a.introduce(conn); err != nil {
					a.cfg.Log.Debug("peer not told where we are now", "peer", conn.RemotePeer(), "err", err)
				}
				a.ForgetIfGone(conn.RemotePeer())
				return nil
			})
		}
		_ = tell.Wait()
	}()
}

// Connect returns our CONNECT as it is sent over a connection.
func Connect(h *dht.Handlers, over network.Conn) *wire.Connect {
	reach := reachOver(over.RemoteMultiaddr())
	self := h.Routing().Self()
	return &wire.Connect{
		Version:      wire.ProtocolVersion,
		NodeID:       self[:],
		RealmID:      h.Realm(),
		Endpoint:     h.EndpointFor(reach),
		Capabilities: []string{"dht"},
		Addrs:        addressing.EncodeAddrs(h.AddrsFor(reach)),
		StoreID:      h.Routing().Records().StoreID(),
	}
}

// noteMet notes that a peer that is connected has answered our CONNECT.
func (a *Admission) noteMet(p peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessionOf(p).met = true
}

// Met reports whether a peer that is connected has CONNECTed here, or has answered our
// CONNECT, in our realm.
func (a *Admission) Met(p peer.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ps := a.sessions[p]
	return ps != nil && ps.met
}

// introduce sends our CONNECT over a connection, on a stream of its own, and admits
// the peer after its PONG.
func (a *Admission) introduce(conn network.Conn) error {
	ctx, cancel := context.WithTimeout(a.ctx, connectTimeout)
	defer cancel()
	ctx = network.WithNoDial(ctx, "a connection that is gone is not made again to say hello")
	asked := time.Now()
	reply, err := a.cfg.Client.Query(ctx, routing.Contact{Peer: conn.RemotePeer()}, Connect(a.cfg.Handlers, conn))
	if err != nil {
		return err
	}
	pong, ok := reply.(*wire.Pong)
	switch {
	case !ok:
		return fmt.Errorf("CONNECT answered by %s", reply.Type())
	case pong.RealmID != a.cfg.Handlers.Realm():
		return &proto.RefusedError{Reason: fmt.Sprintf("%s: it serves the realm %q, we serve %q", wire.ReasonRealmMismatch, pong.RealmID, a.cfg.Handlers.Realm())}
	case !isNodeIDOf(conn.RemotePeer(), pong.NodeID):
		return &proto.RefusedError{Reason: fmt.Sprintf("node id %x is not its peer id's", pong.NodeID)}
	}
	a.noteMet(conn.RemotePeer())
	c := a.contactOf(conn, pong.NodeID, pong.Endpoint, pong.StoreID)
	c.Answered = c.LastSeen
	a.noteClock(c, pong, asked)
	a.enter(*c, conn)
	return nil
}
