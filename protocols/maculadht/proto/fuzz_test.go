package proto_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// FuzzReadReply: whatever answers a request, it is a message that fits or the fault of who
// sent it.
func FuzzReadReply(f *testing.F) {
	requests := []wire.Message{&wire.Ping{}, &wire.FindNode{Target: []byte("t")}, &wire.FindValue{Key: []byte("k")},
		&wire.Call{Procedure: "p", CallID: []byte("id")}, &wire.Connect{NodeID: []byte("n")}, &wire.NATProbe{}, &wire.RPCRequest{}}
	replies := []wire.Message{&wire.Pong{}, &wire.FindNodeReply{Nodes: []wire.Node{{ID: []byte("n")}}}, &wire.FindNodeReply{Reason: "busy"},
		&wire.FindValueReply{Values: []wire.Raw{wire.RawMap()}}, &wire.FindValueReply{Reason: "busy"}, &wire.Reply{CallID: []byte("id"), Result: wire.RawMap()},
		&wire.Reply{CallID: []byte("id"), Error: &wire.CallError{Code: "c"}}, &wire.Reply{CallID: []byte("other")}, &wire.Disconnect{Reason: "r"}, &wire.NATProbeReply{}, &wire.RPCReply{}}
	for i := range requests {
		for _, m := range replies {
			f.Add(uint8(i), byte(m.Type()), m.AppendPayload(nil))
		}
	}
	f.Fuzz(func(t *testing.T, request uint8, typ byte, payload []byte) {
		asked := requests[int(request)%len(requests)]
		m, err := proto.ReadReply(framing.Frame{Type: wire.Type(typ), Payload: payload}, asked)
		if err == nil {
			require.True(t, m.Type().Answers(asked.Type()))
			return
		}
		require.Nil(t, m)
		_, remote := errors.AsType[*proto.RemoteError](err)
		_, refused := errors.AsType[*proto.RefusedError](err)
		require.True(t, remote || refused, "%v", err)
	})
}
