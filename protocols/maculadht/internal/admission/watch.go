package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// watchPeers starts the task that follows which peers come, what they speak,
// and when they go.
func (a *Admission) watchPeers() error {
	sub, err := a.cfg.Host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerProtocolsUpdated),
		new(event.EvtPeerConnectednessChanged),
		new(event.EvtLocalAddressesUpdated),
		new(event.EvtHostReachableAddrsChanged),
	})
	if err != nil {
		return fmt.Errorf("subscribe to the host's events: %w", err)
	}
	told := a.whereWeAre()
	a.tasks.Go(func() {
		defer sub.Close()
		var gathered <-chan time.Time // nil while nothing of ours has changed
		again := time.NewTicker(a.cfg.LookAgain)
		defer again.Stop()
		for {
			select {
			case <-a.ctx.Done():
				return
			case <-gathered:
				gathered = nil
				if now := a.whereWeAre(); now != told {
					told = now
					a.introduceAgain()
				}
			case <-again.C:
				a.askDropped()
				if gathered == nil && a.whereWeAre() != told { // of an endpoint there is no event
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
					a.onEvent(e)
				}
			}
		}
	})
	a.departures = &network.NotifyBundle{DisconnectedF: a.onDisconnected}
	a.cfg.Host.Network().Notify(a.departures)
	for _, conn := range a.cfg.Host.Network().Conns() { // those of before
		a.onSpeaks(conn.RemotePeer())
	}
	return nil
}

// askDropped has those asked for a sign of life that the table has dropped and that
// are connected still, or again.
func (a *Admission) askDropped() {
	for _, c := range a.routing.Table().AllDropped() {
		if a.cfg.Host.Network().Connectedness(c.Peer) == network.Connected && a.speaks(c.Peer) {
			a.cfg.Upkeep.Heard(c.ID)
		}
	}
}

func (a *Admission) onEvent(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		a.onIdentified(e)
		if !a.speaks(e.Peer) {
			a.onSilent(e.Peer)
		}
		a.onSpeaks(e.Peer)
	case event.EvtPeerProtocolsUpdated:
		if slices.Contains(e.Removed, proto.ProtocolID) {
			a.onSilent(e.Peer)
		}
		a.onSpeaks(e.Peer)
	case event.EvtPeerConnectednessChanged:
		a.ForgetIfGone(e.Peer)
	}
}

// ForgetIfGone drops what is kept of a peer while it is connected. Its contact
// stays: the table is not the list of connections.
func (a *Admission) ForgetIfGone(p peer.ID) {
	if a.cfg.Host.Network().Connectedness(p) != network.NotConnected {
		return
	}
	a.mu.Lock()
	ps := a.sessions[p]
	delete(a.sessions, p)
	a.mu.Unlock()
	if ps != nil && !ps.came.IsZero() {
		a.cfg.Summary.Info("peer left", "peer", p, "after", time.Since(ps.came).Round(time.Millisecond))
		a.cfg.Left(time.Since(ps.came))
	}
}

// noteCame tells of a peer that has been admitted, once in its connections' life.
func (a *Admission) noteCame(c routing.Contact) {
	a.mu.Lock()
	ps := a.sessions[c.Peer]
	first := ps != nil && ps.came.IsZero()
	if first {
		ps.came = time.Now()
	}
	a.mu.Unlock()
	if first {
		a.cfg.Summary.Info("peer came", "peer", c.Peer, "addrs", fmt.Sprint(c.Addrs), "endpoint", c.Endpoint)
		a.cfg.Came()
	}
}

// onSilent drops the contact of a peer that does not speak the protocol any
// more. If it does again, it may be another service, which does not know us.
func (a *Admission) onSilent(p peer.ID) {
	a.routing.Forget(routing.IDFromPeer(p))
	a.mu.Lock()
	ps := a.sessions[p]
	spoke := ps != nil && (ps.introduced != nil || !ps.came.IsZero())
	if spoke || ps != nil && ps.connect != nil {
		ps.introduced, ps.lapsed = nil, true
	}
	a.mu.Unlock()
	if spoke {
		a.probe(p)
	}
}

// probe asks a peer that is said not to speak the protocol whether it does, a few
// times: identify's first answer may come after the push that is newer than it, or
// that push not at all.
func (a *Admission) probe(p peer.ID) {
	a.mu.Lock()
	ps := a.sessions[p]
	begin := ps != nil && !ps.probing && !a.closed
	if begin {
		ps.probing = true
		a.tasks.Add(1)
	}
	a.mu.Unlock()
	if !begin {
		return
	}
	go func() {
		defer a.tasks.Done()
		for pause := connectPause; pause <= 4*connectPause && !a.speaks(p) && a.pause(pause); pause *= 4 {
			a.negotiate(p)
		}
		a.mu.Lock()
		if a.sessions[p] == ps {
			ps.probing = false
		}
		a.mu.Unlock()
		a.onSpeaks(p)
		a.ForgetIfGone(p)
	}()
}

// negotiate opens a stream of the protocol to a peer that is connected: the host
// notes that it can.
func (a *Admission) negotiate(p peer.ID) {
	ctx, cancel := context.WithTimeout(a.ctx, connectTimeout)
	defer cancel()
	if stream, err := a.cfg.Host.NewStream(network.WithNoDial(ctx, "only who is connected is asked"), p, proto.ProtocolID); err == nil {
		stream.Close()
	}
}

// pause waits, and reports whether the service still lives then.
func (a *Admission) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-a.ctx.Done():
		return false
	}
}

func (a *Admission) speaks(p peer.ID) bool {
	supported, err := a.cfg.Host.Peerstore().SupportsProtocols(p, proto.ProtocolID)
	return err == nil && slices.Equal(supported, []protocol.ID{proto.ProtocolID})
}

// onSpeaks acts on what is known of a peer's protocols: it admits one whose
// CONNECT was waiting for that, and sends a CONNECT where the connection is of
// our making, or where the peer speaks again.
func (a *Admission) onSpeaks(p peer.ID) {
	if !a.speaks(p) {
		return
	}
	conns := a.cfg.Host.Network().ConnsToPeer(p)
	a.mu.Lock()
	ps := a.sessions[p]
	again := ps != nil && ps.lapsed
	var ours network.Conn
	for _, conn := range conns {
		if (again || conn.Stat().Direction == network.DirOutbound) && !conn.Stat().Limited {
			ours = conn
		}
	}
	if ours != nil && ps == nil {
		ps = a.sessionOf(p)
	}
	var waiting *routing.Contact
	var over network.Conn
	introduce := false
	if ps != nil {
		waiting, over, ps.connect, ps.over = ps.connect, ps.over, nil, nil
		introduce = ours != nil && ps.introduced != ours && !a.closed
		if introduce {
			ps.introduced, ps.lapsed = ours, false
			a.tasks.Add(1)
		}
	}
	a.mu.Unlock()
	if waiting != nil {
		a.enter(*waiting, over)
	}
	if introduce {
		go func() {
			defer a.tasks.Done()
			a.introduceOver(ours)
			a.ForgetIfGone(p) // as in serve
		}()
	}
}

// onDisconnected notes that a peer may have left, as its last connection has ended.
// If it is still there it says so when the upkeep asks; if not, it costs no lookup
// its time meanwhile.
func (a *Admission) onDisconnected(n network.Network, conn network.Conn) {
	a.cfg.Client.Ended(conn)
	p := conn.RemotePeer()
	if n.Connectedness(p) == network.NotConnected && !spared(conn) {
		a.routing.Table().Doubt(routing.IDFromPeer(p), time.Now())
	}
}

// spared reports whether a connection was ended to have fewer, by this side or by
// the other one's connection manager, which says nothing of whether the peer lives.
// To ask it for a sign of life would make the connection anew.
func spared(conn network.Conn) bool {
	var q *quic.Conn
	if !conn.As(&q) {
		return false
	}
	why, closed := errors.AsType[*quic.ApplicationError](context.Cause(q.Context()))
	return closed && (!why.Remote || network.ConnErrorCode(why.ErrorCode) == network.ConnGarbageCollected)
}
