package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Handler takes one frame of a peer, whose memory is the stream's: clone what
// must outlive the call. It runs in the goroutine that reads the stream, so what
// waits for others belongs into another one, with a [Slot] for the answer. An
// error ends the stream, with the reset code of [proto.ResetCodeOf].
type Handler func(p *Peer, f wire.Frame) error

// ErrHandled: a type has a handler already.
var ErrHandled = errors.New("message type has a handler")

// Mux hands frames to the handlers of their types. A frame of a type that has
// none is taken and dropped, once it is seen to be well-formed. It is safe for
// concurrent use.
type Mux struct {
	limits Limits
	tracer MetricsTracer
	count  *muxCounters
	below  *Mux // has the handlers that this one has not; nil for none

	registering sync.Mutex
	handlers    atomic.Pointer[[256]Handler] // replaced, never written to
}

func newMux(limits Limits, tracer MetricsTracer) *Mux {
	m := &Mux{limits: limits, tracer: tracer, count: new(muxCounters)}
	m.handlers.Store(new([256]Handler))
	return m
}

// Handle has h take the frames of a type, also on streams that are open. It
// fails with [ErrHandled] where another does.
func (m *Mux) Handle(t wire.Type, h Handler) error {
	if h == nil {
		return fmt.Errorf("handler of %s is nil", t)
	}
	m.registering.Lock()
	defer m.registering.Unlock()
	handlers := *m.handlers.Load()
	if handlers[t] != nil {
		return fmt.Errorf("%w: %s", ErrHandled, t)
	}
	handlers[t] = h
	m.handlers.Store(&handlers)
	return nil
}

// With returns a Mux that has h take the frames of a type and is this one else,
// counters included, also as to what is registered with this one later.
func (m *Mux) With(t wire.Type, h Handler) *Mux {
	other := &Mux{limits: m.limits, tracer: m.tracer, count: m.count, below: m}
	var own [256]Handler
	own[t] = h
	other.handlers.Store(&own)
	return other
}

// handler returns what takes the frames of a type, nil for nobody.
func (m *Mux) handler(t wire.Type) Handler {
	for ; m != nil; m = m.below {
		if h := m.handlers.Load()[t]; h != nil {
			return h
		}
	}
	return nil
}

// Serve serves one stream until the peer ends it, breaks the framing, keeps
// silent for too long or does not take what is written to it, or ctx ends. The
// stream is closed or reset then, and no goroutine is left. The error says why it
// was reset, nil where the peer closed it between two frames.
func (m *Mux) Serve(ctx context.Context, stream Stream, s *Session) error {
	p := newPeer(ctx, m, stream, s)
	defer p.end()
	stop := context.AfterFunc(ctx, func() {
		stream.Reset(proto.ResetShutdown)
		p.out.abort() // open slots are not waited for
	})
	defer stop()
	started := time.Now()
	m.tracer.StreamOpened(s.Dialect.Name)

	written := make(chan writeEnd, 1)
	go func() { written <- p.out.write() }()
	err := p.read()
	switch {
	case err == nil, errors.Is(err, ErrTurnedAway):
		p.out.finish()
	default:
		p.out.abort()
	}
	if w := <-written; w.err != nil && (err == nil || w.first) {
		err = w.err // why nothing could be read any more, or what was asked not answered
	}
	if err == nil {
		err = ctx.Err() // it was reset before all was answered
	}
	code, ok := proto.ResetGone, err == nil || errors.Is(err, ErrTurnedAway)
	if ok {
		stream.Close()
	} else {
		code = proto.ResetCodeOf(err)
		if ctx.Err() != nil {
			code = proto.ResetShutdown
		}
		m.count.resets[code].Add(1)
		stream.Reset(code)
	}
	m.tracer.StreamEnded(s.Dialect.Name, code, ok, time.Since(started))
	if err != nil {
		return fmt.Errorf("macula stream of %s: %w", s, err)
	}
	return nil
}

// ErrTurnedAway: the peer was sent a DISCONNECT, and its stream closed.
var ErrTurnedAway = errors.New("turned away")

// TurnedAwayError is the ErrTurnedAway that says why.
type TurnedAwayError struct {
	Reason  string // the word that the peer was sent, such as wire.ReasonRealmMismatch
	Message string // for people
}

func (e *TurnedAwayError) Error() string { return ErrTurnedAway.Error() + ": " + e.Why() }

// Is reports whether it is target: ErrTurnedAway.
func (e *TurnedAwayError) Is(target error) bool { return target == ErrTurnedAway }

// Why is the reason with its message.
func (e *TurnedAwayError) Why() string {
	if e.Message == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Message
}

// read hands each frame to its handler.
func (p *Peer) read() error {
	for {
		f, err := p.in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			p.midFrame = false // what is behind it is another frame
			err = p.handle(f)
		}
		if err != nil {
			return err
		}
		if p.out.gathered() >= flushAt || !p.in.Ready() {
			p.out.flush()
		}
		if err := p.out.waitForRoom(p.ctx); err != nil {
			return err
		}
	}
}

// handle takes one frame.
func (p *Peer) handle(f wire.Frame) error {
	m := p.mux
	m.count.frame(f.Type)
	var start time.Time
	if m.traced() {
		start = time.Now()
	}
	result := FrameHandled
	err := p.dispatch(f, &result)
	if errors.Is(err, errNoMemory) {
		m.count.busy.Add(1)
		result = FrameBusy
		err = p.busy(f)
	}
	if m.traced() {
		if err != nil {
			result = FrameFatal
		}
		m.tracer.FrameReceived(p.session.Dialect.Name, f.Type, result, time.Since(start))
	}
	return err
}

func (p *Peer) dispatch(f wire.Frame, result *FrameResult) error {
	if !p.Charge(1) {
		*result = FrameBusy
		return p.busy(f)
	}
	if h := p.mux.handler(f.Type); h != nil {
		return h(p, f)
	}
	*result = FrameDropped
	if !f.Type.Known() {
		return nil // its payload is nobody's concern
	}
	return f.Check()
}

// busy answers a frame that is over a budget: those that have a word for it. Of
// others the stream ends.
func (p *Peer) busy(f wire.Frame) error {
	var reply wire.Message
	var err error
	switch f.Type {
	case wire.TypeFindValue:
		reply = &wire.FindValueReply{Reason: wire.ReasonBusy}
		err = f.Check()
	case wire.TypeFindNode:
		reply = &wire.FindNodeReply{Reason: wire.ReasonBusy}
		err = f.Check()
	case wire.TypeCall:
		var m wire.Call
		_, err = broken(m.Decode(f.Payload))
		reply = &wire.Reply{CallID: orUndefined(m.CallID), Error: overBudget}
	default:
		return proto.ErrOverBudget
	}
	if err != nil {
		return err
	}
	if err = p.Reply(reply); !errors.Is(err, errNoMemory) {
		return err
	}
	p.out.waitForBatch(p.ctx)
	if err = p.Reply(reply); errors.Is(err, errNoMemory) {
		return proto.ErrOverBudget
	}
	return err
}

var overBudget = &wire.CallError{Code: wire.CodeBusy, Message: "Over this peer's budget, ask more slowly"}
