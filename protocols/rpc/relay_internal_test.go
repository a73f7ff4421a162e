package rpc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/harmless"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// FuzzFrames: whatever comes in what is parsed here, it is read or refused, and what is
// passed on as it came has what an Erlang node takes for granted.
func FuzzFrames(f *testing.F) {
	id := []byte("0123456789abcdef")
	call := &wire.Call{Procedure: "p", Args: wire.RawText("{}"), CallID: id, Realm: "r"}
	route := &wire.RPCRoute{Route: wire.Route{Destination: id, Source: id, MaxHops: 10, Payload: call.AppendPayload(nil)}, PayloadType: wire.PayloadCall}
	for _, m := range []wire.Message{
		call, route,
		route.Answer(id, &wire.Reply{CallID: id, Error: &wire.CallError{Code: "c", Message: "m"}}),
		&wire.RPCRequest{Kind: wire.TextRPCRequest, RequestID: id, Procedure: "p", Args: wire.RawText("{}"), FromNode: id, TargetNode: id, FromEndpoint: "127.0.0.1:4433", Realm: "r", Timestamp: wire.Some(time.Now().UnixMilli())},
		&wire.RPCReply{RequestID: id, FromNode: id, ToNode: id, Result: wire.RawText("1"), Timestamp: wire.Some(int64(1))},
		&wire.RPCReply{RequestID: id, ToNode: id, Error: "procedure_not_found"},
		&wire.Reply{CallID: id, Result: wire.RawMap()},
		&wire.RegisterProcedure{Procedure: "p"},
	} {
		f.Add(m.AppendPayload(nil))
	}
	f.Add([]byte{0x80})
	f.Add([]byte(wire.RawMap(wire.Pair{Key: "request_id", Value: wire.RawText("x")}, wire.Pair{Key: "timestamp", Value: wire.RawText("soon")})))
	f.Fuzz(func(t *testing.T, b []byte) {
		var request wire.RPCRequest
		if err := request.Decode(b); err == nil && harmless.Check(b, "request_id", "procedure", "from_node") == nil {
			for _, name := range []string{"request_id", "procedure", "from_node"} {
				v, _ := wire.Raw(b).Field(name)
				require.Equal(t, wire.Bin, v.Kind(), name)
			}
		}
		var reply wire.RPCReply
		if _, fatal := payload.Broken(reply.Decode(b)); fatal == nil {
			e := outcome.ErrorOf(reply.Error)
			require.NotEmpty(t, e.Code)
			require.LessOrEqual(t, len(e.Message), outcome.MaxMessage+3)
			if harmless.Check(b, "request_id") == nil {
				if v, there := wire.Raw(b).Field("timestamp"); there {
					require.Equal(t, wire.Int, v.Kind())
				}
			}
		}
		var route wire.RPCRoute
		if _, fatal := payload.Broken(route.Decode(b)); fatal == nil {
			var call wire.Call
			_ = call.Decode(route.Payload)
		}
	})
}
