package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server/outbox"
)

// Handler takes one frame of a peer, whose memory is the stream's: clone what
// must outlive the call. It runs in the goroutine that reads the stream, so what
// waits for others belongs into another one, with a [Slot] for the answer. An
// error ends the stream, with the reset code of [proto.ResetCodeOf].
type Handler func(p *Peer, f framing.Frame) error

// ErrHandled: a type has a handler already.
var ErrHandled = errors.New("message type has a handler")

// Mux hands frames to the handlers of their types. A frame of a type that has
// none is taken and dropped, once it is seen to be well-formed. It is safe for
// concurrent use.
type Mux struct {
	limits  Limits
	tracer  MetricsTracer
	strict  bool
	budget  *budget.Budget
	clients *Clients
	count   *muxCounters
	below   *Mux // has the handlers that this one has not; nil for none

	registering sync.Mutex
	handlers    atomic.Pointer[[256]Handler] // replaced, never written to
	refusals    atomic.Pointer[[256]Refusal] // the same
	opens       atomic.Pointer[[256]Opening] // the same
}

// Refusal returns the answer to a frame that is not served, which says why: its
// peer is over a budget, or was turned away. Without one, nil, the frame counts as
// one that is never answered. An error is as a Handler's.
type Refusal func(p *Peer, f framing.Frame, why *wire.CallError) (wire.Message, error)

// NewMux returns a Mux without handlers.
func NewMux(opts ...Option) (*Mux, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	accounts, err := budget.New(cfg.limits.Accounts)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	m := &Mux{limits: cfg.limits, tracer: cfg.tracer, strict: cfg.strict, budget: accounts, clients: newClients(), count: new(muxCounters)}
	m.handlers.Store(new([256]Handler))
	m.refusals.Store(new([256]Refusal))
	m.opens.Store(new([256]Opening))
	return m, nil
}

// Limits returns the limits of streams and peers.
func (m *Mux) Limits() Limits { return m.limits }

// Budget returns the accounts of the peers, which all transports share.
func (m *Mux) Budget() *budget.Budget { return m.budget }

// Clients returns the peers that have CONNECTed and can be sent to.
func (m *Mux) Clients() *Clients { return m.clients }

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
// accounts, clients and counters included, also as to what is registered with this one later.
func (m *Mux) With(t wire.Type, h Handler) *Mux {
	other := &Mux{limits: m.limits, tracer: m.tracer, strict: m.strict, budget: m.budget, clients: m.clients, count: m.count, below: m}
	var own [256]Handler
	own[t] = h
	other.handlers.Store(&own)
	other.refusals.Store(new([256]Refusal))
	other.opens.Store(new([256]Opening))
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
