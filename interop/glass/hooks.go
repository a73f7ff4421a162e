package glass

import (
	"slices"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// hooks are how tests hold a gateway's hand.
type hooks struct {
	shaking *handshake                  // the handshake under way
	shake   chan struct{}               // holds handshakes until it is closed
	held    map[wire.Type]chan struct{} // holds the replies to a type
	instead func(framing.Frame) []byte  // replies in place of the usual
}

// waitFor waits for a gate to open, and reports whether it did before Close.
func (g *Gateway) waitFor(gate <-chan struct{}) bool {
	if gate == nil {
		return true
	}
	select {
	case <-gate:
		return true
	case <-g.ctx.Done():
		return false
	}
}

func (g *Gateway) handshakeGate() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shake
}

func (g *Gateway) replyHooks(t wire.Type) (gate <-chan struct{}, instead func(framing.Frame) []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held[t], g.instead
}

// HoldHandshakes keeps handshakes from ending until letGo is called.
func (g *Gateway) HoldHandshakes() (letGo func()) {
	gate := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shake = gate
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.shake == gate {
			g.shake = nil
		}
		close(gate)
	})
}

// OccupyHandshake takes the one place for a handshake, so that all are refused,
// until letGo is called.
func (g *Gateway) OccupyHandshake() (letGo func()) {
	h := &handshake{}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shaking = h
	return func() { g.shaken(h) }
}

// HoldReplies keeps back the replies to a type until letGo is called. The
// gateway itself goes on.
func (g *Gateway) HoldReplies(t wire.Type) (letGo func()) {
	gate := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[t] = gate
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.held[t] == gate {
			delete(g.held, t)
		}
		close(gate)
	})
}

// ReplyWith makes it send any bytes where it would reply, and the usual where they
// are nil. A nil function ends that.
func (g *Gateway) ReplyWith(reply func(asked framing.Frame) []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.instead = reply
}

// DropClients closes the connections that it has accepted, as a crash of the
// whole node does.
func (g *Gateway) DropClients() {
	g.mu.Lock()
	conns := make([]*quic.Conn, 0, len(g.conns))
	for conn := range g.conns {
		conns = append(conns, conn)
	}
	g.mu.Unlock()
	for _, conn := range conns {
		conn.CloseWithError(0, "")
	}
}

// Push sends a message to all that have CONNECTed, on the streams on which they
// did, and returns to how many it was written.
func (g *Gateway) Push(m wire.Message) (sent int, err error) {
	b, err := framing.AppendFrame(nil, m)
	if err != nil {
		return 0, err
	}
	g.mu.Lock()
	var streams []*stream
	for _, s := range g.streams {
		if s.welcome && !slices.Contains(streams, s) {
			streams = append(streams, s)
		}
	}
	g.mu.Unlock()
	for _, s := range streams {
		if _, err := s.Write(b); err == nil {
			sent++
		}
	}
	return sent, nil
}
