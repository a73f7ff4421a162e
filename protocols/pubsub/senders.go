package pubsub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/backlog"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/interest"
)

const (
	// sendTime is how long it may take to send one message, a CONNECT before it included.
	sendTime = 10 * time.Second
	// idleTime is for how long a node is remembered that is sent nothing.
	idleTime = 10 * time.Second
	// firstPause is how long a node is left alone that could not be sent something,
	// doubled up to lastPause as long as that goes on.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	// drainTime is for what waits to be sent when Topics are closed.
	drainTime = 500 * time.Millisecond
)

// senders send messages to other nodes, to each in their order.
type senders struct {
	topics *Topics

	mu     sync.Mutex
	nodes  map[string]*sender
	places *fair.Commons[*sender] // by whose messages wait there
	idle   chan struct{}          // closed when all is sent, once closing; nil before
}

// sender sends to one node, in a goroutine that ends when it has had nothing to do.
type sender struct {
	all  *senders
	key  string
	wake chan struct{} // has a token when there is something to send, or an end

	waiting backlog.Queue[sending] // guarded by senders.mu
	busy    bool                   // it is sending; guarded by senders.mu
	gone    chan struct{}          // closed when it gave way

	gatewayID []byte        // of an Erlang gateway, once it has told
	pace      *rate.Limiter // of an Erlang gateway
}

// sending is a message for a node, as that was found.
type sending struct {
	to interest.Node
	m  *message
}

func (t *Topics) newSenders() *senders {
	return &senders{topics: t, nodes: make(map[string]*sender), places: fair.NewCommons[*sender](t.cfg.limits.Nodes)}
}

func (s *senders) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.nodes)
}

// send has a message sent to a node. It does not wait.
func (s *senders) send(to *interest.Node, m *message) {
	m.routed() // by this goroutine, which alone has the message
	l := &s.topics.cfg.limits
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		return // it is closing
	}
	key := to.Key()
	n := s.nodes[key]
	if n == nil {
		n = &sender{all: s, key: key, gone: make(chan struct{}), wake: make(chan struct{}, 1), pace: rate.NewLimiter(rate.Limit(l.ErlangRate), max(l.ErlangRate/4, 1))}
	}
	if gone, gaveWay := s.places.Use(m.by, n); gone == n {
		s.topics.dropped(DropUnsent, 1)
		return
	} else if gaveWay {
		s.giveWay(gone)
	}
	if s.nodes[key] == nil {
		s.nodes[key] = n
		s.topics.tasks.Go(n.run)
	}
	dropped := n.waiting.Push(m.by, sending{*to, m}, m.size(), l.Queue, l.QueueBytes)
	for _, d := range dropped {
		s.places.Leave(d.m.by, n)
	}
	s.topics.dropped(DropSlow, len(dropped))
	wakeUp(n.wake)
}

// giveWay ends a sender, and drops what waits for it; s.mu is held.
func (s *senders) giveWay(n *sender) {
	delete(s.nodes, n.key)
	s.topics.dropped(DropUnsent, n.waiting.Len())
	n.waiting = backlog.Queue[sending]{}
	close(n.gone)
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// drain waits until all is sent that waits, for drainTime at most. Nothing more is taken.
func (s *senders) drain() {
	s.mu.Lock()
	s.idle = make(chan struct{})
	idle := s.idle
	s.noteIdle()
	for _, n := range s.nodes {
		wakeUp(n.wake)
	}
	s.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(drainTime):
	}
}

// noteIdle says that all is sent, if it is; s.mu is held.
func (s *senders) noteIdle() {
	if s.idle == nil {
		return
	}
	for _, n := range s.nodes {
		if n.busy || n.waiting.Len() > 0 {
			return
		}
	}
	select {
	case <-s.idle:
	default:
		close(s.idle)
	}
}

// next returns what is to be sent after another, nothing where there was nothing for
// idleTime: the sender is forgotten then.
func (n *sender) next(done sending) (sending, bool) {
	s := n.all
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	over := false
	for {
		s.mu.Lock()
		if done.m != nil {
			s.places.Leave(done.m.by, n)
			done.m = nil
		}
		out, ok := n.waiting.Pop()
		n.busy = ok
		if !ok {
			s.noteIdle()
			if over && s.nodes[n.key] == n {
				delete(s.nodes, n.key)
				s.places.Remove(n)
			}
		}
		s.mu.Unlock()
		if ok || over {
			return out, ok
		}
		select {
		case <-n.wake:
		case <-idle.C:
			over = true
		case <-n.gone:
			over = true
		case <-s.topics.ctx.Done():
			over = true
		}
	}
}

func (n *sender) run() {
	t := n.all.topics
	pause := firstPause
	var out sending
	for {
		var ok bool
		if out, ok = n.next(out); !ok {
			return
		}
		sent, err := n.send(out)
		switch {
		case err == nil:
			pause = firstPause
			if sent {
				t.count.sent.Add(1)
				t.cfg.tracer.Sent()
			}
			continue
		case t.ctx.Err() != nil:
			continue
		}
		t.dropped(DropUnsent, 1)
		t.log.Debug("a message could not be sent to a subscriber's node", "node", out.to.String(), "topic", out.m.Topic, "err", err)
		if !errors.Is(err, proto.ErrUnreachable) {
			continue // it is of this message, not of the node
		}
		select {
		case <-time.After(pause):
		case <-n.gone:
		case <-t.ctx.Done():
		}
		pause = min(2*pause, lastPause)
	}
}

// send sends one message, and reports whether it had to be.
func (n *sender) send(out sending) (sent bool, err error) {
	t := n.all.topics
	ctx, cancel := context.WithTimeout(t.ctx, sendTime)
	defer cancel()
	to, info := out.to.ID, dht.NodeInfo{NodeID: out.to.ID, Peer: out.to.Peer.ID, Addrs: out.to.Peer.Addrs}
	if info.Peer != "" {
		if err := t.service.Meet(ctx, out.to.Peer); err != nil { // who has not met us takes nothing
			return false, err
		}
	} else {
		info = dht.NodeInfo{NodeID: out.to.Gateway.NodeID, Endpoint: out.to.Gateway.Endpoint, Addrs: out.to.Gateway.Addrs}
		if to, err = n.idOfGateway(ctx, &out.to, info); err != nil || to == nil {
			return false, err
		}
		if err := n.pace.Wait(ctx); err != nil {
			return false, err
		}
	}
	self := t.service.Routing().Self()
	err = t.service.Handlers().SendToPeer(ctx, info, out.m.route(self[:], to))
	return err == nil, err
}

// idOfGateway returns the id by which an Erlang gateway has subscribed; nil where it has
// not, and the records that led to it are its clients'.
func (n *sender) idOfGateway(ctx context.Context, to *interest.Node, info dht.NodeInfo) ([]byte, error) {
	for _, id := range to.Named {
		if len(id) == len(n.all.topics.self) && bytes.Equal(id, to.Gateway.NodeID) {
			return id, nil
		}
	}
	if n.gatewayID == nil {
		reply, err := n.all.topics.service.Handlers().QueryPeer(ctx, info, &wire.NATProbe{NodeID: n.all.topics.self[:], RequestID: newMessageID()})
		if err != nil {
			return nil, fmt.Errorf("ask the gateway for its id: %w", err)
		}
		if told, ok := reply.(*wire.NATProbeReply); ok {
			n.gatewayID = told.NodeID
		}
	}
	for _, id := range to.Named {
		if bytes.Equal(id, n.gatewayID) {
			return id, nil
		}
	}
	return nil, nil
}
