package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Ping asks a node for a sign of life and returns how long it took.
func Ping(ctx context.Context, n routing.Network, to routing.Contact) (time.Duration, error) {
	start := time.Now()
	sent := start.UnixMilli()
	m := &wire.Ping{Timestamp: wire.Some(sent)}
	reply, err := n.Query(ctx, to, m)
	pong, err := as[*wire.Pong](m, reply, err)
	if err != nil {
		return 0, err
	}
	if pong.Timestamp != wire.Some(sent) {
		return 0, &proto.RemoteError{Code: wire.CodeWrongReply, Message: "PONG with another timestamp than the PING's"}
	}
	return time.Since(start), nil
}

// FindNode asks a node for the nodes nearest to target that it knows.
func FindNode(ctx context.Context, n routing.Network, to routing.Contact, target []byte) ([]wire.Node, error) {
	m := &wire.FindNode{Target: target}
	reply, err := n.Query(ctx, to, m)
	nodes, err := as[*wire.FindNodeReply](m, reply, err)
	if err != nil {
		return nil, err
	}
	return nodes.Nodes, nil
}

// FindValue asks a node for what it has stored under key. A miss is a reply
// without values; it may list nodes that are nearer.
func FindValue(ctx context.Context, n routing.Network, to routing.Contact, key []byte) (*wire.FindValueReply, error) {
	m := &wire.FindValue{Key: key}
	reply, err := n.Query(ctx, to, m)
	return as[*wire.FindValueReply](m, reply, err)
}

// Put has a node keep a value, by _dht.store, and returns once it has said so.
func Put(ctx context.Context, n routing.Network, to routing.Contact, args procedures.StoreArgs) error {
	_, err := call(ctx, n, to, wire.ProcedureStore, args.Raw())
	return err
}

// ListGateways asks a node for the gateways of its realm that it knows.
func ListGateways(ctx context.Context, n routing.Network, to routing.Contact) (procedures.GatewayList, error) {
	result, err := call(ctx, n, to, wire.ProcedureListGateways, wire.RawMap())
	if err != nil {
		return nil, err
	}
	var list procedures.GatewayList
	if err := list.Decode(result); err != nil {
		return nil, &proto.RemoteError{Code: wire.CodeBadReply, Message: err.Error()}
	}
	return list, nil
}

func call(ctx context.Context, n routing.Network, to routing.Contact, procedure string, args wire.Raw) (wire.Raw, error) {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	m := &wire.Call{Procedure: procedure, Args: args, CallID: id}
	reply, err := n.Query(ctx, to, m)
	called, err := as[*wire.Reply](m, reply, err)
	if err != nil {
		return nil, err
	}
	return called.Result, nil
}

// as returns the reply to m as the M that answers it.
func as[M wire.Message](m, reply wire.Message, err error) (M, error) {
	var none M
	if err != nil {
		return none, err
	}
	typed, ok := reply.(M)
	if !ok {
		return none, &proto.RemoteError{Code: wire.CodeWrongReply, Message: fmt.Sprintf("%s answered by %s", m.Type(), reply.Type())}
	}
	return typed, nil
}
