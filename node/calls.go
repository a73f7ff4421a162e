package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/api"
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

// Call implements api.Node.
func (l local) Call(ctx context.Context, procedure string, args json.RawMessage) (json.RawMessage, error) {
	raw, err := fromJSON(args)
	if err != nil {
		return nil, fmt.Errorf("args: %w", err)
	}
	result, err := l.calls.Call(ctx, procedure, raw)
	if told, ok := errors.AsType[*wire.CallError](err); ok {
		return nil, &api.CallError{Code: told.Code, Message: told.Message, Unserved: errors.Is(err, rpc.ErrNotFound)}
	}
	if err != nil {
		return nil, err
	}
	return result.MarshalJSON()
}

// Serve implements api.Node.
func (l local) Serve(ctx context.Context, procedure string, atOnce int, f func(context.Context, json.RawMessage) (json.RawMessage, error)) (withdraw func() error, err error) {
	if atOnce == 0 {
		atOnce = rpc.DefaultLimits().Running
	}
	p, err := l.calls.ServeAtOnce(ctx, procedure, atOnce, func(ctx context.Context, r *rpc.Request) (any, error) {
		args, err := r.Args.MarshalJSON()
		if err != nil {
			return nil, err
		}
		result, err := f(ctx, args)
		if told, ok := errors.AsType[*api.CallError](err); ok {
			return nil, &wire.CallError{Code: told.Code, Message: told.Message}
		}
		if err != nil {
			return nil, err
		}
		return fromJSON(result)
	})
	if p == nil {
		return nil, err
	}
	return p.Withdraw, nil // what could not be saved is tried again
}

// fromJSON reads a JSON value; nothing is null.
func fromJSON(text json.RawMessage) (wire.Raw, error) {
	if len(text) == 0 {
		text = json.RawMessage("null")
	}
	return wire.FromJSON(text)
}
