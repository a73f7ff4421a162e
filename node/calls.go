package node

import (
	"context"
	"errors"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/rpc"
	"github.com/macula-mesh/macula-node/protocols/rpc/diagnostics"
)

// openCalls serves calls, and those by which a gateway tells of itself.
func (n *Node) openCalls() (err error) {
	if n.calls, err = rpc.New(n.service, rpc.WithLogger(n.cfg.log("rpc")), rpc.WithMetricsTracer(n.metrics.Calls)); err != nil {
		return err
	}
	return diagnostics.Serve(n.calls, diagnostics.Gateway{Node: n.ID().String(), Realm: n.cfg.Realm, Version: n.cfg.Version})
}

// Calls returns what serves procedures and calls them.
func (n *Node) Calls() *rpc.Calls { return n.calls }

// Call implements api.Calls.
func (l local) Call(ctx context.Context, procedure string, args wire.Raw) (wire.Raw, error) {
	result, err := l.n.calls.Call(ctx, procedure, args)
	if told, ok := errors.AsType[*wire.CallError](err); ok {
		return nil, &schema.CallError{Code: told.Code, Message: told.Message, Unserved: errors.Is(err, rpc.ErrNotFound)}
	}
	return result, err
}

// Serve implements api.Calls.
func (l local) Serve(ctx context.Context, procedure string, atOnce int, f func(context.Context, wire.Raw) (wire.Raw, error)) (withdraw func() error, err error) {
	if atOnce == 0 {
		atOnce = rpc.DefaultLimits().Running
	}
	p, err := l.n.calls.ServeAtOnce(ctx, procedure, atOnce, func(ctx context.Context, r *rpc.Request) (any, error) {
		result, err := f(ctx, r.Args)
		if told, ok := errors.AsType[*schema.CallError](err); ok {
			return nil, &wire.CallError{Code: told.Code, Message: told.Message}
		}
		if err != nil {
			return nil, err
		}
		return result, nil
	})
	if p == nil {
		return nil, err
	}
	return p.Withdraw, nil // what could not be saved is tried again
}
