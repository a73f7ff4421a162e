package backend

import (
	"context"
	"errors"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// Call implements api.Calls.
func (b *Backend) Call(ctx context.Context, procedure string, args wire.Raw) (wire.Raw, error) {
	result, err := b.Calls.Call(ctx, procedure, args)
	if told, ok := errors.AsType[*wire.CallError](err); ok {
		return nil, &schema.CallError{Code: told.Code, Message: told.Message, Unserved: errors.Is(err, rpc.ErrNotFound)}
	}
	return result, err
}

// Serve implements api.Calls.
func (b *Backend) Serve(ctx context.Context, procedure string, atOnce int, f func(context.Context, wire.Raw) (wire.Raw, error)) (withdraw func() error, err error) {
	handler := func(ctx context.Context, r *rpc.Request) (any, error) {
		result, err := f(ctx, r.Args)
		if told, ok := errors.AsType[*schema.CallError](err); ok {
			return nil, &wire.CallError{Code: told.Code, Message: told.Message}
		}
		if err != nil {
			return nil, err
		}
		return result, nil
	}
	var p *rpc.Procedure
	if atOnce == 0 {
		p, err = b.Calls.Serve(ctx, procedure, handler)
	} else {
		p, err = b.Calls.ServeAtOnce(ctx, procedure, atOnce, handler)
	}
	if p == nil {
		return nil, err
	}
	return p.Withdraw, nil // what could not be saved is tried again
}
