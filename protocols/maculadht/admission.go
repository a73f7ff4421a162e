package maculadht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// connectTimeout is how long a CONNECT may take from its stream to the PONG.
	connectTimeout = 10 * time.Second
	// connectTries is how often a CONNECT is sent over one connection, where nothing
	// comes back, after connectPause, doubled each time.
	connectTries = 5
	connectPause = time.Second
	// gatherFor is for how long changes of our own addresses are waited for before
	// peers are told of them.
	gatherFor = 2 * time.Second
	// tellAtOnce is how many peers are told of them at a time.
	tellAtOnce = 8
)

// watchPeers starts the task that follows which peers come, what they speak,
// and when they go.
func (s *Service) watchPeers() error {
	sub, err := s.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerProtocolsUpdated),
		new(event.EvtPeerConnectednessChanged),
		new(event.EvtLocalAddressesUpdated),
		new(event.EvtHostReachableAddrsChanged),
	})
	if err != nil {
		return fmt.Errorf("subscribe to the host's events: %w", err)
	}
	told := s.whereWeAre()
	s.tasks.Go(func() {
		defer sub.Close()
		var gathered <-chan time.Time // nil while nothing of ours has changed
		again := time.NewTicker(s.joining.lookAgain)
		defer again.Stop()
		for {
			select {
			case <-s.ctx.Done():
				return
			case <-gathered:
				gathered = nil
				if now := s.whereWeAre(); now != told {
					told = now
					s.introduceAgain()
				}
			case <-again.C:
				s.askDropped()
				if gathered == nil && s.whereWeAre() != told { // of an endpoint there is no event
					gathered = time.After(gatherFor)
				}
			case e, ok := <-sub.Out():
				if !ok {
					return
				}
				switch e.(type) {
				case event.EvtLocalAddressesUpdated, event.EvtHostReachableAddrsChanged:
					if gathered == nil {
						gathered = time.After(gatherFor)
					}
				default:
					s.onEvent(e)
				}
			}
		}
	})
	s.departures = &network.NotifyBundle{DisconnectedF: s.onDisconnected}
	s.host.Network().Notify(s.departures)
	for _, conn := range s.host.Network().Conns() { // those of before
		s.onSpeaks(conn.RemotePeer())
	}
	return nil
}

// askDropped has those asked for a sign of life that the table has dropped and that
// are connected still, or again.
func (s *Service) askDropped() {
	for _, c := range s.routing.Table().AllDropped() {
		if s.host.Network().Connectedness(c.Peer) == network.Connected && s.speaks(c.Peer) {
			s.upkeep.Heard(c.ID)
		}
	}
}

func (s *Service) onEvent(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		s.onIdentified(e)
		if !s.speaks(e.Peer) {
			s.onSilent(e.Peer)
		}
		s.onSpeaks(e.Peer)
	case event.EvtPeerProtocolsUpdated:
		if slices.Contains(e.Removed, proto.ProtocolID) {
			s.onSilent(e.Peer)
		}
		s.onSpeaks(e.Peer)
	case event.EvtPeerConnectednessChanged:
		s.forgetIfGone(e.Peer)
	}
}

// forgetIfGone drops what is kept of a peer while it is connected. Its contact
// stays: the table is not the list of connections.
func (s *Service) forgetIfGone(p peer.ID) {
	if s.host.Network().Connectedness(p) != network.NotConnected {
		return
	}
	s.mu.Lock()
	ps := s.sessions[p]
	delete(s.sessions, p)
	s.mu.Unlock()
	if ps != nil && !ps.came.IsZero() {
		s.summary.Info("peer left", "peer", p, "after", time.Since(ps.came).Round(time.Millisecond))
		s.tracer.PeerLeft(time.Since(ps.came))
	}
}

// noteCame tells of a peer that has been admitted, once in its connections' life.
func (s *Service) noteCame(c routing.Contact) {
	s.mu.Lock()
	ps := s.sessions[c.Peer]
	first := ps != nil && ps.came.IsZero()
	if first {
		ps.came = time.Now()
	}
	s.mu.Unlock()
	if first {
		s.summary.Info("peer came", "peer", c.Peer, "addrs", fmt.Sprint(c.Addrs), "endpoint", c.Endpoint)
		s.tracer.PeerCame()
	}
}

// onSilent drops the contact of a peer that does not speak the protocol any
// more. If it does again, it may be another service, which does not know us.
func (s *Service) onSilent(p peer.ID) {
	s.routing.Forget(routing.IDFromPeer(p))
	s.mu.Lock()
	ps := s.sessions[p]
	spoke := ps != nil && (ps.introduced != nil || !ps.came.IsZero())
	if spoke || ps != nil && ps.connect != nil {
		ps.introduced, ps.lapsed = nil, true
	}
	s.mu.Unlock()
	if spoke {
		s.probe(p)
	}
}

// probe asks a peer that is said not to speak the protocol whether it does, a few
// times: identify's first answer may come after the push that is newer than it, or
// that push not at all.
func (s *Service) probe(p peer.ID) {
	s.mu.Lock()
	ps := s.sessions[p]
	begin := ps != nil && !ps.probing && !s.closed
	if begin {
		ps.probing = true
		s.tasks.Add(1)
	}
	s.mu.Unlock()
	if !begin {
		return
	}
	go func() {
		defer s.tasks.Done()
		for pause := connectPause; pause <= 4*connectPause && !s.speaks(p) && s.pause(pause); pause *= 4 {
			s.negotiate(p)
		}
		s.mu.Lock()
		if s.sessions[p] == ps {
			ps.probing = false
		}
		s.mu.Unlock()
		s.onSpeaks(p)
		s.forgetIfGone(p)
	}()
}

// negotiate opens a stream of the protocol to a peer that is connected: the host
// notes that it can.
func (s *Service) negotiate(p peer.ID) {
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	if stream, err := s.host.NewStream(network.WithNoDial(ctx, "only who is connected is asked"), p, proto.ProtocolID); err == nil {
		stream.Close()
	}
}

// pause waits, and reports whether the service still lives then.
func (s *Service) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Service) speaks(p peer.ID) bool {
	supported, err := s.host.Peerstore().SupportsProtocols(p, proto.ProtocolID)
	return err == nil && slices.Equal(supported, []protocol.ID{proto.ProtocolID})
}

// onSpeaks acts on what is known of a peer's protocols: it admits one whose
// CONNECT was waiting for that, and sends a CONNECT where the connection is of
// our making, or where the peer speaks again.
func (s *Service) onSpeaks(p peer.ID) {
	if !s.speaks(p) {
		return
	}
	conns := s.host.Network().ConnsToPeer(p)
	s.mu.Lock()
	ps := s.sessions[p]
	again := ps != nil && ps.lapsed
	var ours network.Conn
	for _, conn := range conns {
		if (again || conn.Stat().Direction == network.DirOutbound) && !conn.Stat().Limited {
			ours = conn
		}
	}
	if ours != nil && ps == nil {
		ps = s.session(p)
	}
	var waiting *routing.Contact
	var over network.Conn
	introduce := false
	if ps != nil {
		waiting, over, ps.connect, ps.over = ps.connect, ps.over, nil, nil
		introduce = ours != nil && ps.introduced != ours && !s.closed
		if introduce {
			ps.introduced, ps.lapsed = ours, false
			s.tasks.Add(1)
		}
	}
	s.mu.Unlock()
	if waiting != nil {
		s.enter(*waiting, over)
	}
	if introduce {
		go func() {
			defer s.tasks.Done()
			s.introduceOver(ours)
			s.forgetIfGone(p) // as in serve
		}()
	}
}

// introduceOver sends our CONNECT over a connection until it is answered, or the
// connection is no more the one to send it over, a few times at most.
func (s *Service) introduceOver(conn network.Conn) {
	p := conn.RemotePeer()
	pause := connectPause
	for try := 1; ; try++ {
		err := s.introduce(conn)
		if err == nil || s.ctx.Err() != nil {
			return
		}
		// Whoever has answered would answer the same again.
		again := try < connectTries && (errors.Is(err, proto.ErrUnreachable) || errors.Is(err, client.ErrBroken))
		s.summary.Info("peer not admitted", "peer", p, "again", again, "err", err)
		if !again || !s.pause(pause) {
			return
		}
		s.mu.Lock()
		ps := s.sessions[p]
		current := ps != nil && ps.introduced == conn && !conn.IsClosed()
		s.mu.Unlock()
		if !current {
			return
		}
		pause *= 2
	}
}

// whereWeAre returns all that a CONNECT could tell a peer of how to reach us.
func (s *Service) whereWeAre() string {
	addrs := slices.Clone(s.host.Addrs())
	slices.SortFunc(addrs, func(a, b ma.Multiaddr) int { return a.Compare(b) })
	return fmt.Sprint(s.handlers.Endpoint(), addrs)
}

// introduceAgain tells the peers that know us where we are now.
func (s *Service) introduceAgain() {
	var conns []network.Conn
	s.mu.Lock()
	for p, ps := range s.sessions {
		conn := ps.introduced
		if conn == nil && !ps.came.IsZero() {
			for _, c := range s.host.Network().ConnsToPeer(p) {
				if !c.Stat().Limited {
					conn = c
				}
			}
		}
		if conn != nil && !conn.IsClosed() {
			conns = append(conns, conn)
		}
	}
	s.mu.Unlock()
	if len(conns) == 0 || !s.begin() {
		return
	}
	go func() {
		defer s.tasks.Done()
		var tell errgroup.Group
		tell.SetLimit(tellAtOnce)
		for _, conn := range conns {
			tell.Go(func() error {
				if err := s.introduce(conn); err != nil {
					s.log.Debug("peer not told where we are now", "peer", conn.RemotePeer(), "err", err)
				}
				s.forgetIfGone(conn.RemotePeer())
				return nil
			})
		}
		_ = tell.Wait()
	}()
}

// introduce sends our CONNECT over a connection, on a stream of its own, and admits
// the peer after its PONG.
func (s *Service) introduce(conn network.Conn) error {
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	ctx = network.WithNoDial(ctx, "a connection that is gone is not made again to say hello")
	reach := reachOver(conn.RemoteMultiaddr())
	m := &wire.Connect{
		Version:      wire.ProtocolVersion,
		NodeID:       s.nodeID(),
		RealmID:      s.handlers.Realm(),
		Endpoint:     s.handlers.EndpointFor(reach),
		Capabilities: []string{"dht"},
		Addrs:        routing.EncodeAddrs(s.handlers.AddrsFor(reach)),
		StoreID:      s.routing.Records().StoreID(),
	}
	reply, err := s.client.Query(ctx, routing.Contact{Peer: conn.RemotePeer()}, m)
	if err != nil {
		return err
	}
	pong, ok := reply.(*wire.Pong)
	switch {
	case !ok:
		return fmt.Errorf("CONNECT answered by %s", reply.Type())
	case pong.RealmID != s.handlers.Realm():
		return &proto.RefusedError{Reason: fmt.Sprintf("%s: it serves the realm %q, we serve %q", wire.ReasonRealmMismatch, pong.RealmID, s.handlers.Realm())}
	case !isNodeIDOf(conn.RemotePeer(), pong.NodeID):
		return &proto.RefusedError{Reason: fmt.Sprintf("node id %x is not its peer id's", pong.NodeID)}
	}
	s.enter(*s.contactOf(conn, pong.NodeID, pong.Endpoint, pong.StoreID), conn)
	return nil
}

func isNodeIDOf(p peer.ID, nodeID []byte) bool {
	id := routing.IDFromPeer(p)
	return bytes.Equal(id[:], nodeID)
}

// admit takes the CONNECT of a peer. It enters the table as soon as it is known
// to answer others: a peer that only asks is no contact.
func (s *Service) admit(conn network.Conn, m *wire.Connect) *wire.Disconnect {
	p := conn.RemotePeer()
	if !isNodeIDOf(p, m.NodeID) {
		return &wire.Disconnect{Reason: wire.ReasonNodeIDMismatch,
			Message: fmt.Sprintf("The node id of peer %s is %s: the SHA-256 of its peer id", p, routing.IDFromPeer(p))}
	}
	contact := s.contactOf(conn, bytes.Clone(m.NodeID), m.Endpoint, bytes.Clone(m.StoreID))
	s.client.Renew(conn)
	s.mu.Lock()
	ps := s.session(p)
	ps.connect, ps.over = contact, conn
	s.mu.Unlock()
	s.onSpeaks(p) // admits at once where identify has told
	if !s.speaks(p) {
		s.probe(p)
	}
	return nil
}

// enter puts a verified contact into the table, with the addresses that identify has
// told by now of the peer at the other end of its connection.
func (s *Service) enter(c routing.Contact, over network.Conn) {
	s.addressing.Lock()
	c.Addrs = s.addrsOf(over)
	err := s.routing.Admit(c)
	s.addressing.Unlock()
	switch {
	case errors.Is(err, routing.ErrBucketFull):
		s.log.Debug("bucket full", "peer", c.Peer)
	case err != nil:
		s.summary.Info("peer not admitted", "peer", c.Peer, "err", err)
	case !s.speaks(c.Peer): // it became a client meanwhile, and onSilent came too early
		s.routing.Forget(c.ID)
	default:
		s.noteCame(c)
		if s.host.Network().Connectedness(c.Peer) == network.NotConnected {
			s.routing.Table().Doubt(c.ID, time.Now()) // it left before it was here
		}
	}
}
