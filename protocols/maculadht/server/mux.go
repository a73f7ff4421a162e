package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server/outbox"
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
	refusals    atomic.Pointer[[256]Refusal] // the same
}

// Refusal returns the answer to a frame that is not served, which says why: its
// peer is over a budget, or was turned away. Without one, nil, the frame counts as
// one that is never answered. An error is as a Handler's.
type Refusal func(p *Peer, f wire.Frame, why *wire.CallError) (wire.Message, error)

func newMux(limits Limits, tracer MetricsTracer) *Mux {
	m := &Mux{limits: limits, tracer: tracer, count: new(muxCounters)}
	m.handlers.Store(new([256]Handler))
	m.refusals.Store(new([256]Refusal))
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

// Refuse has r answer frames of a type that are not served. Those of other types
// end their stream where they are over a budget, unless it is kept
// ([Dialect.KeepConnected]). It fails with [ErrHandled] where another does.
func (m *Mux) Refuse(t wire.Type, r Refusal) error {
	if r == nil {
		return fmt.Errorf("refusal of %s is nil", t)
	}
	m.registering.Lock()
	defer m.registering.Unlock()
	refusals := *m.refusals.Load()
	if refusals[t] != nil {
		return fmt.Errorf("%w of what is refused: %s", ErrHandled, t)
	}
	refusals[t] = r
	m.refusals.Store(&refusals)
	return nil
}

// With returns a Mux that has h take the frames of a type and is this one else,
// counters included, also as to what is registered with this one later.
func (m *Mux) With(t wire.Type, h Handler) *Mux {
	other := &Mux{limits: m.limits, tracer: m.tracer, count: m.count, below: m}
	var own [256]Handler
	own[t] = h
	other.handlers.Store(&own)
	other.refusals.Store(new([256]Refusal))
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

// refusal returns what answers frames of a type that are not served, nil for nobody.
func (m *Mux) refusal(t wire.Type) Refusal {
	for ; m != nil; m = m.below {
		if r := m.refusals.Load()[t]; r != nil {
			return r
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
		p.out.Abort() // open slots are not waited for
	})
	defer stop()
	started := time.Now()
	m.tracer.StreamOpened(s.Dialect.Name)

	written := make(chan outbox.End, 1)
	go func() { written <- p.out.Write() }()
	err := p.read()
	switch {
	case err == nil, errors.Is(err, ErrTurnedAway):
		p.out.Finish()
	default:
		p.out.Abort()
	}
	if w := <-written; w.Err != nil && (err == nil || w.First) {
		err = w.Err // why nothing could be read any more, or what was asked not answered
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

// ErrTurnedAway: the peer was sent a DISCONNECT, and its stream closed. A stream
// that is kept ([Dialect.KeepConnected]) is not.
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
		switch {
		case err == nil:
			p.midFrame = false // what is behind it is another frame
			if err := p.handle(f); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return nil
		default:
			if err := p.lost(err); err != nil {
				return err
			}
			continue
		}
		if p.out.Batched() || !p.in.Ready() {
			p.out.Flush()
		}
		if err := p.out.WaitForRoom(p.ctx); err != nil {
			return err
		}
	}
}

// lost goes on after a frame that could not be read, where the stream is kept:
// what is left of it is skipped, and where nobody knows how long that is nothing
// more is understood. It returns the error where that is all that there is to do.
func (p *Peer) lost(err error) error {
	broken := errors.Is(err, wire.ErrVersion) || errors.Is(err, wire.ErrTooLarge)
	noRoom := errors.Is(err, wire.ErrNoMemory)
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if !p.kept || !broken && !noRoom && !late || p.ctx.Err() != nil {
		return err
	}
	p.mux.count.spared.Add(1)
	p.out.Flush()
	p.stream.SetReadDeadline(time.Time{})
	if p.in.Skip() {
		return nil
	}
	return p.deaf()
}

// deafPause is how long a deaf stream of a peer that is over its budget rests.
const deafPause = 100 * time.Millisecond

// deaf reads until the peer ends the stream, and understands nothing.
func (p *Peer) deaf() error {
	p.in.Close() // it holds nothing meanwhile
	b := make([]byte, 1<<10)
	for {
		if _, err := p.stream.Read(b); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if !p.Charge(1) {
			select {
			case <-time.After(deafPause):
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
		}
	}
}

// handle takes one frame. On a stream that is kept one that would end it is lost
// instead.
func (p *Peer) handle(f wire.Frame) error {
	m := p.mux
	m.count.frame(f.Type)
	var start time.Time
	if m.traced() {
		start = time.Now()
	}
	result := FrameHandled
	err := p.dispatch(f, &result)
	if errors.Is(err, ErrBusy) {
		m.count.busy.Add(1)
		result = FrameBusy
		err = p.busy(f, noRoom)
	}
	if err != nil && p.kept && p.ctx.Err() == nil {
		m.count.spared.Add(1)
		if result == FrameHandled {
			result = FrameDropped
		}
		err = p.out.Err()
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
		return p.busy(f, overBudget)
	}
	if p.refused != nil && f.Type != wire.TypeConnect {
		*result = FrameDropped
		return p.turnAway(f)
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

// turnAway answers a frame on a stream whose CONNECT was refused: what its sender
// waits for, with why.
func (p *Peer) turnAway(f wire.Frame) error {
	refusal := p.mux.refusal(f.Type)
	if refusal == nil {
		return nil
	}
	reply, err := refusal(p, f, p.refused)
	if err != nil || reply == nil {
		return err
	}
	return p.Reply(reply)
}

// busy answers a frame that is over a budget, or whose answer there is no room for:
// those that have a word for it. Of others the stream ends, or, where it is kept, the
// frame is lost.
func (p *Peer) busy(f wire.Frame, why *wire.CallError) error {
	refusal := p.mux.refusal(f.Type)
	if refusal == nil {
		return proto.ErrOverBudget
	}
	reply, err := refusal(p, f, why)
	switch {
	case err != nil:
		return err
	case reply == nil:
		return proto.ErrOverBudget
	}
	if err = p.Reply(reply); !errors.Is(err, ErrBusy) {
		return err
	}
	p.out.WaitForBatch(p.ctx)
	if err = p.Reply(reply); errors.Is(err, ErrBusy) {
		return proto.ErrOverBudget
	}
	return err
}

// Why a frame is answered busy.
var (
	overBudget = &wire.CallError{Code: wire.CodeBusy, Message: "Over this peer's budget, ask more slowly"}
	noRoom     = &wire.CallError{Code: wire.CodeBusy, Message: "No room for one more answer to this peer, take those before it"}
)
