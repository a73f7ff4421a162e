package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// Request is a call as who serves it sees it.
type Request struct {
	Procedure string
	// Args is what the caller gave, as MessagePack: JSON is read already. It is nil's
	// MessagePack where there is nothing.
	Args wire.Raw
	// Caller is the node id of who calls, as it says: nothing proves it. Nil where it
	// says none.
	Caller []byte
}

// Unmarshal reads the args into what a pointer leads to, see [wire.Unmarshal].
func (r *Request) Unmarshal(into any) error { return wire.Unmarshal(r.Args, into) }

// Handler serves a procedure: what it returns is for the caller, as [wire.Marshal] has
// it. An error is told the caller as its text, under the code handler_error; a
// *[wire.CallError] is told as it is. The context ends when nobody waits for the answer
// any more. A panic is told the caller as handler_crash, and logged.
type Handler func(ctx context.Context, r *Request) (any, error)

// Procedure is one that this program serves.
type Procedure struct {
	calls *Calls
	name  string
	serve Handler
	offer *maculadht.Advertisement // nil where it is not advertised; guarded by calls.mu
	line  *fair.Line
}

// What Serve and Call fail with, for errors.Is.
var (
	// ErrServed: this program serves the procedure already.
	ErrServed = errors.New("the procedure is served already")
	// ErrNotFound: nobody who can be reached serves the procedure.
	ErrNotFound = errors.New("nobody serves the procedure")
	// ErrTimeout: the procedure was not answered in time; it may be at work still.
	ErrTimeout = errors.New("not answered in time")
	// ErrBusy: too many calls are under way, here or there.
	ErrBusy = errors.New("too many calls are under way")
	// ErrClosed: the Calls are closed.
	ErrClosed = proto.ErrClosed
	// ErrInvalidRequest: what was asked for can not be.
	ErrInvalidRequest = proto.ErrInvalidRequest
)

// Serve has a handler serve a procedure, for Erlang nodes and libp2p peers, until it is
// withdrawn or the Calls are closed; ctx bounds no more than this call. The procedure is
// advertised in the DHT meanwhile, see [maculadht.Service.AdvertiseService], in this
// node's name, and not after a restart. Others reach it while the service is a server. A name is 1 to
// [wire.MaxField] bytes, none of the DHT's own, and each is served once: else the error
// is an ErrInvalidRequest or ErrServed.
func (c *Calls) Serve(ctx context.Context, procedure string, h Handler) (*Procedure, error) {
	return c.ServeAtOnce(ctx, procedure, c.cfg.limits.Running, h)
}

// ServeAtOnce is Serve with at most so many calls handled at once, 1 or more: others wait
// for their turn, one of each caller after the other, as [Limits] has it. One IP group of
// callers has three quarters of them at most.
func (c *Calls) ServeAtOnce(ctx context.Context, procedure string, atOnce int, h Handler) (*Procedure, error) {
	p, err := c.serve(procedure, atOnce, h)
	if err != nil {
		return nil, fmt.Errorf("serve %q: %w", procedure, err)
	}
	offer, err := c.service.AdvertiseService(ctx, maculadht.Offer{Name: procedure, Brief: true})
	if err != nil && offer == nil {
		c.withdraw(p)
		return nil, fmt.Errorf("serve %q: %w", procedure, err)
	}
	c.mu.Lock()
	p.offer = offer
	closed := c.closed
	c.mu.Unlock()
	if closed { // meanwhile, which has withdrawn what it knew of
		return nil, errors.Join(fmt.Errorf("serve %q: %w", procedure, ErrClosed), offer.Withdraw())
	}
	return p, err
}

// ServeHere is Serve without advertising: the procedure is for who asks this node.
func (c *Calls) ServeHere(procedure string, h Handler) (*Procedure, error) {
	p, err := c.serve(procedure, c.cfg.limits.Running, h)
	if err != nil {
		return nil, fmt.Errorf("serve %q: %w", procedure, err)
	}
	return p, nil
}

func (c *Calls) serve(procedure string, atOnce int, h Handler) (*Procedure, error) {
	switch {
	case procedure == "" || len(procedure) > wire.MaxField:
		return nil, fmt.Errorf("%w: a name of %d bytes, want 1 to %d", ErrInvalidRequest, len(procedure), wire.MaxField)
	case wire.IsDHTProcedure(procedure):
		return nil, fmt.Errorf("%w: it is the DHT's own", ErrInvalidRequest)
	case atOnce < 1:
		return nil, fmt.Errorf("%w: %d calls at once, want 1 or more", ErrInvalidRequest, atOnce)
	case h == nil:
		return nil, fmt.Errorf("%w: the handler is nil", ErrInvalidRequest)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, ErrClosed
	case c.served[procedure] != nil:
		return nil, ErrServed
	}
	p := &Procedure{calls: c, name: procedure, serve: h, line: fair.NewLine(atOnce, c.cfg.limits.Waiting)}
	c.served[procedure] = p
	return p, nil
}

// withdraw has it served no longer, and returns its advertisement.
func (c *Calls) withdraw(p *Procedure) *maculadht.Advertisement {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.served[p.name] == p {
		delete(c.served, p.name)
	}
	return p.offer
}

// Withdraw has the procedure served no longer; calls that run go on. The error is that
// of [maculadht.Advertisement.Withdraw].
func (p *Procedure) Withdraw() error {
	if offer := p.calls.withdraw(p); offer != nil {
		return offer.Withdraw()
	}
	return nil
}

// runServed has a call served by this program, and reports whether it serves the
// procedure.
func (c *Calls) runServed(t *task) bool {
	c.mu.Lock()
	p := c.served[t.procedure]
	c.mu.Unlock()
	if p == nil {
		return false
	}
	args, err := t.args.Value()
	if err != nil {
		c.finish(t, outcome.Failed(wire.CodeInvalidArgs, "Invalid parameter: args: %v", err))
		return true
	}
	work := &fair.Work{Payer: t.payer, Refused: func() { c.giveWay(t) }}
	work.Begin = func() {
		ctx, cancel := context.WithDeadline(c.ctx, t.until)
		begun := c.awaits(t, cancel) && c.spawn(func() {
			defer p.line.Leave(work)
			defer cancel()
			c.finish(t, p.run(ctx, &Request{Procedure: t.procedure, Args: args, Caller: t.from}))
		})
		if !begun {
			cancel()
			p.line.Leave(work)
			c.finish(t, outcome.Of(outcome.Closing))
		}
	}
	if c.awaits(t, func() { p.line.Leave(work) }) {
		p.line.Enter(work)
	}
	return true
}

// run calls the handler.
func (p *Procedure) run(ctx context.Context, r *Request) (o outcome.Outcome) {
	defer func() {
		if broke := recover(); broke != nil {
			p.calls.cfg.log.Error("a procedure panicked", "procedure", p.name, "panic", broke, "stack", string(debug.Stack()))
			o = outcome.Failed(wire.CodeHandlerCrash, "The procedure broke")
		}
	}()
	v, err := p.serve(ctx, r)
	if err != nil && ctx.Err() != nil {
		return outcome.Of(outcome.Late)
	}
	if err != nil {
		if told, ok := errors.AsType[*wire.CallError](err); ok {
			return outcome.Of(told)
		}
		return outcome.Failed(wire.CodeHandlerError, "%s", outcome.Shorten(err.Error()))
	}
	raw, err := wire.Marshal(v)
	if err != nil {
		return outcome.Failed(wire.CodeHandlerError, "The result can not be told: %v", err)
	}
	return outcome.Outcome{Result: payload.OfValue(raw)}
}
