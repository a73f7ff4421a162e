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

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// connectTimeout is how long a CONNECT may take from its stream to the PONG.
const connectTimeout = 10 * time.Second

// watchPeers starts the task that follows which peers come, what they speak,
// and when they go.
func (s *Service) watchPeers() error {
	sub, err := s.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerProtocolsUpdated),
		new(event.EvtPeerConnectednessChanged),
	})
	if err != nil {
		return fmt.Errorf("subscribe to the host's events: %w", err)
	}
	s.tasks.Go(func() {
		defer sub.Close()
		again := time.NewTicker(s.joining.lookAgain)
		defer again.Stop()
		for {
			select {
			case <-s.ctx.Done():
				return
			case <-again.C:
				s.askDropped()
			case e, ok := <-sub.Out():
				if !ok {
					return
				}
				s.onEvent(e)
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
	defer s.mu.Unlock()
	if ps := s.sessions[p]; ps != nil {
		ps.introduced, ps.lapsed = nil, true
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
	introduce := false
	if ps != nil {
		waiting, ps.connect = ps.connect, nil
		introduce = ours != nil && ps.introduced != ours && !s.closed
		if introduce {
			ps.introduced, ps.lapsed = ours, false // once: where it fares badly the next connection may fare better
			s.tasks.Add(1)
		}
	}
	s.mu.Unlock()
	if waiting != nil {
		s.enter(*waiting)
	}
	if introduce {
		go func() {
			defer s.tasks.Done()
			if err := s.introduce(ours); err != nil {
				s.summary.Info("peer not admitted", "peer", p, "err", err)
			}
			s.forgetIfGone(p) // as in serve
		}()
	}
}

// introduce sends our CONNECT over a connection of our making, on a stream of
// its own, and admits the peer after its PONG.
func (s *Service) introduce(conn network.Conn) error {
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	ctx = network.WithNoDial(ctx, "a connection that is gone is not made again to say hello")
	m := &wire.Connect{
		Version:      wire.ProtocolVersion,
		NodeID:       s.nodeID(),
		RealmID:      s.handlers.Realm(),
		Endpoint:     s.handlers.Endpoint(),
		Capabilities: []string{"dht"},
		Addrs:        routing.EncodeAddrs(s.handlers.Addrs()),
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
		return &proto.RefusedError{Reason: fmt.Sprintf("it serves the realm %q, we serve %q", pong.RealmID, s.handlers.Realm())}
	case !isNodeIDOf(conn.RemotePeer(), pong.NodeID):
		return &proto.RefusedError{Reason: fmt.Sprintf("node id %x is not its peer id's", pong.NodeID)}
	}
	s.enter(*contactOf(conn, pong.NodeID, pong.Endpoint, pong.Addrs, pong.StoreID))
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
	contact := contactOf(conn, bytes.Clone(m.NodeID), m.Endpoint, m.Addrs, bytes.Clone(m.StoreID))
	s.client.Renew(conn)
	s.mu.Lock()
	s.session(p).connect = contact
	s.mu.Unlock()
	s.onSpeaks(p) // admits at once where identify has told
	return nil
}

// enter puts a verified contact into the table.
func (s *Service) enter(c routing.Contact) {
	switch err := s.routing.Admit(c); {
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
