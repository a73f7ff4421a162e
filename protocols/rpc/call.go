package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// Call calls a procedure, wherever it is served: by this program, by an Erlang node that
// has CONNECTed here, by a libp2p peer, or behind another node of ours. Args are what
// [wire.Marshal] takes, and the result is MessagePack for [wire.Unmarshal]; an Erlang
// node's JSON is read and written for it. Without a deadline a call ends after
// [Limits].Time, and with one after Limits.MaxTime.
//
// The error is an ErrNotFound, ErrTimeout or ErrBusy, or what the provider said: a
// *[wire.CallError] is in all of them.
func (c *Calls) Call(ctx context.Context, procedure string, args any) (wire.Raw, error) {
	result, err := c.call(ctx, procedure, args)
	if err != nil {
		return nil, fmt.Errorf("call %q: %w", procedure, err)
	}
	return result, nil
}

func (c *Calls) call(ctx context.Context, procedure string, args any) (wire.Raw, error) {
	if procedure == "" || len(procedure) > wire.MaxField {
		return nil, fmt.Errorf("%w: a name of %d bytes, want 1 to %d", ErrInvalidRequest, len(procedure), wire.MaxField)
	}
	raw, err := wire.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("%w: args: %w", ErrInvalidRequest, err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	until := time.Now().Add(c.cfg.limits.Time)
	if deadline, ok := ctx.Deadline(); ok {
		until = time.Now().Add(min(time.Until(deadline), c.cfg.limits.MaxTime))
	}
	done := make(chan outcome.Outcome, 1)
	t := &task{procedure: procedure, args: payload.OfValue(raw), from: c.self, until: until, answer: func(o outcome.Outcome) { done <- o }}
	c.begin(t)
	var o outcome.Outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		c.finish(t, outcome.Of(outcome.Late))
		if o = <-done; o.Err == outcome.Late {
			return nil, fmt.Errorf("%w: %w: %w", ErrTimeout, context.Cause(ctx), o.Err)
		}
	}
	result, why := o.In(payload.Payload.Value)
	switch {
	case why == nil:
		return result, nil
	case why == outcome.Closing:
		return nil, fmt.Errorf("%w: %w", ErrClosed, why)
	}
	switch why.Code {
	case wire.ErrorProcedureNotFound, wire.ErrorTargetNotFound, wire.CodeNotRouted, wire.ErrorNoHandler:
		return nil, fmt.Errorf("%w: %w", ErrNotFound, why)
	case wire.CodeTimeout:
		return nil, fmt.Errorf("%w: %w", ErrTimeout, why)
	case wire.CodeBusy:
		return nil, fmt.Errorf("%w: %w", ErrBusy, why)
	}
	return nil, why
}
