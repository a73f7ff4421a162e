package server

import (
	"context"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server/outbox"
)

// Stream is one bidirectional stream, of libp2p or of raw QUIC.
type Stream interface {
	io.Reader
	io.Writer
	// Close ends both directions in order: what was written still arrives.
	Close() error
	// Reset ends both directions at once and tells the other end why.
	Reset(proto.ResetCode)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Activity is a Stream that is told that something comes on it: of connections that are too
// many those go first on which nothing does.
type Activity interface{ Active() }

// HostStream is a libp2p stream as Serve takes it.
type HostStream struct{ network.Stream }

// ReserveMemory takes from the stream's scope in libp2p's resource manager.
func (s HostStream) ReserveMemory(size int, prio uint8) error {
	return s.Scope().ReserveMemory(size, prio)
}

// Active implements Activity, for a scope that wants to know.
func (s HostStream) Active() {
	if scope, wants := s.Scope().(Activity); wants {
		scope.Active()
	}
}

// ReleaseMemory gives back to it.
func (s HostStream) ReleaseMemory(size int) { s.Scope().ReleaseMemory(size) }

// Reset ends both directions at once.
func (s HostStream) Reset(code proto.ResetCode) { s.ResetWithError(network.StreamErrorCode(code)) }

// Slot is the place of an answer in the order of a stream's answers.
type Slot = outbox.Slot

// What handlers see of a stream that has too much to write.
var (
	// ErrNoRoom: a frame was dropped, as too much waits to be written to its peer.
	ErrNoRoom = outbox.ErrNoRoom
	// ErrBusy: an answer can not be kept, as its peer's account is full, or as many
	// of its answers are outstanding as may be. A handler that returns it has the
	// frame answered busy.
	ErrBusy = outbox.ErrBusy
	// ErrFilled: a slot has its answer, be it the one for who comes too late.
	ErrFilled = outbox.ErrFilled
)

// Peer is one stream that is served, and whoever is at its other end. Reply,
// Defer, DeferApart, Flush, Charge, Accept, TurnAway and Hold are for handlers, in the
// goroutine that reads; Push and the rest are for anybody.
type Peer struct {
	mux     *Mux
	session *Session
	stream  Stream
	ctx     context.Context // ends with the stream
	cancel  context.CancelFunc
	out     *outbox.Outbox

	connected atomic.Bool // a CONNECT was answered by a PONG
	client    *string     // the node id that it is listed under; guarded by Clients.mu

	// The reader's own.
	in       *framing.Reader
	midFrame bool            // the deadline of the current frame is set
	met      bool            // it may ask, where the Mux is strict
	kept     bool            // only the peer or its connection ends the stream, see Dialect.KeepConnected
	refused  *wire.CallError // why the last CONNECT was turned away; nil where it was not
	memory   memories
	listed   int    // of held, what its entry of Clients takes
	kinds    []kind // what handlers keep

	mu    sync.Mutex
	held  int // of memory, until the stream ends
	ended bool
	onEnd []func()
}

func newPeer(ctx context.Context, m *Mux, stream Stream, s *Session) *Peer {
	p := &Peer{mux: m, session: s, stream: stream}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.memory = memoryOf(stream, s)
	p.out = outbox.New(stream, m.limits.outbox(), p.memory, m.dropped)
	reading := []framing.ReaderOption{framing.BeforeRead(p.setReadDeadline), framing.WithMemory(p.memory)}
	if s.Dialect.RelayRequests {
		reading = append(reading, framing.WithRelayRequest())
	}
	p.in = framing.NewReader(stream, reading...)
	return p
}

// end gives up what the peer holds.
func (p *Peer) end() {
	p.cancel()
	p.in.Close()
	p.out.Close()
	p.runEnded()
	p.LetGo(math.MaxInt)
}

// Hold reserves from the peer's account what is kept of it beside its frames, in
// bytes, until its stream ends. It reports false where there is no room. It is for
// the goroutine that reads.
func (p *Peer) Hold(n int) bool {
	if p.memory.ReserveMemory(n, framing.MemoryMore) != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held += n
	return true
}

// LetGo gives back what was held, by any goroutine; after the end of the stream nothing
// is.
func (p *Peer) LetGo(n int) {
	p.mu.Lock()
	n = min(n, p.held)
	p.held -= n
	p.mu.Unlock()
	if n > 0 {
		p.memory.ReleaseMemory(n)
	}
}

// runEnded calls what waits for the end of the stream.
func (p *Peer) runEnded() {
	p.mu.Lock()
	p.ended = true
	ended := p.onEnd
	p.onEnd = nil
	p.mu.Unlock()
	for _, f := range ended {
		f()
	}
}

// OnEnd has f called once when the stream has ended, at once where it has.
func (p *Peer) OnEnd(f func()) {
	p.mu.Lock()
	if !p.ended {
		p.onEnd = append(p.onEnd, f)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	f()
}

// Session returns what is known of the connection that the stream is on.
func (p *Peer) Session() *Session { return p.session }

// Context ends with the stream.
func (p *Peer) Context() context.Context { return p.ctx }

// Connected reports whether a CONNECT was answered on this stream.
func (p *Peer) Connected() bool { return p.connected.Load() }

// Charge takes more frames of the peer's budget than the one that a frame counts
// as, for what costs more than others. It reports false, and takes nothing, where
// they are over it.
func (p *Peer) Charge(frames int) bool {
	if p.session.Account == nil || p.session.Account.AllowFrames(frames) {
		return true
	}
	p.mux.count.busy.Add(1)
	return false
}

// Reply answers the frame that is being handled. The answer leaves after those
// of all frames before it. An error is for the handler to return.
func (p *Peer) Reply(m wire.Message) error { return p.out.Reply(m) }

// Flush has what is answered written, for a handler that waits before it returns.
func (p *Peer) Flush() { p.out.Flush() }

// Defer keeps the place of an answer that comes later, from another goroutine.
// Unless the slot is filled within the timeout, late is the answer; it is encoded
// at once, so it may share the frame's memory. Until then
// the answers to what this stream asks next wait behind it; other streams do not.
// An error is for the handler to return.
func (p *Peer) Defer(timeout time.Duration, late wire.Message) (*Slot, error) {
	return p.out.Defer(timeout, late)
}

// DeferApart is Defer for an answer that has no place in the order of those of its
// stream: what is asked next does not wait for it. It is for askers that tell answers
// apart by an id in them, as Erlang nodes do that have CONNECTed those of calls.
func (p *Peer) DeferApart(timeout time.Duration, late wire.Message) (*Slot, error) {
	return p.out.DeferApart(timeout, late)
}

// Push sends a frame that answers nothing, as [framing.AppendFrame] makes it; it must
// not be modified from then on. Where the peer takes what is pushed too slowly the
// oldest that wait make room. It fails with [ErrNoRoom] where the frame itself was
// dropped, and with [proto.ErrClosed] after the stream has ended.
func (p *Peer) Push(frame []byte) error { return p.out.Push(frame) }

// setReadDeadline gives a frame FrameTimeout from its first byte, and a quiet
// stream the dialect's idle time.
func (p *Peer) setReadDeadline(midFrame bool) {
	if a, is := p.stream.(Activity); is {
		a.Active() // with the first read, or after another one
	}
	if midFrame && p.midFrame {
		return
	}
	p.midFrame = midFrame
	d := &p.session.Dialect
	deadline := time.Now().Add(d.Idle)
	switch {
	case midFrame:
		deadline = time.Now().Add(proto.FrameTimeout)
	case d.Idle == 0, p.kept:
		deadline = time.Time{} // never
	}
	p.stream.SetReadDeadline(deadline) // an error shows in the Read that follows
}
