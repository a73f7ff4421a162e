package rpc_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// scene has the frames that real Erlang nodes sent and received, by node, direction and
// type.
type scene map[[3]string][]framing.Frame

func recorded(t *testing.T, file, name string) scene {
	t.Helper()
	text, err := os.ReadFile("../../interop/glass/testdata/" + file)
	require.NoError(t, err)
	var all struct {
		Scenes []struct {
			Scenario string
			Events   []struct{ Node, Dir, Type, Hex string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &all))
	s := make(scene)
	for _, r := range all.Scenes {
		if r.Scenario != name {
			continue
		}
		for _, e := range r.Events {
			b, err := hex.DecodeString(e.Hex)
			require.NoError(t, err)
			f, _, err := framing.DecodeFrame(b)
			if err != nil {
				continue // a relay_request, which is no frame
			}
			s[[3]string{e.Node, e.Dir, e.Type}] = append(s[[3]string{e.Node, e.Dir, e.Type}], f)
		}
	}
	require.NotEmpty(t, s)
	return s
}

func (s scene) of(t *testing.T, node, dir, typ string) []framing.Frame {
	t.Helper()
	require.NotEmpty(t, s[[3]string{node, dir, typ}], "%s %s %s", node, dir, typ)
	return s[[3]string{node, dir, typ}]
}

func (e *erlang) replay(f framing.Frame) {
	e.send(&wire.Opaque{MessageType: f.Type, Fields: f.Payload})
}

// fieldsOf returns the fields of a frame but for some, as JSON, which tells bin from str and
// leaves out in which order a map's keys were: that is not stable in the reference.
func fieldsOf(f framing.Frame, without ...string) map[string]string {
	all := make(map[string]string)
	for key, v := range wire.Raw(f.Payload).Fields() {
		shown, err := v.MarshalJSON()
		if err != nil {
			panic(err)
		}
		all[text(key)] = string(shown)
	}
	for _, name := range without {
		delete(all, name)
	}
	return all
}

func requireSame(t *testing.T, want, got framing.Frame, but ...string) {
	t.Helper()
	require.Equal(t, want.Type, got.Type)
	require.Equal(t, fieldsOf(want, but...), fieldsOf(got, but...))
}

// again is an erlang that CONNECTs as a recorded one.
func (e *erlang) again(f framing.Frame) *erlang {
	e.tb.Helper()
	e.replay(f)
	require.Equal(e.tb, wire.TypePong, e.next().Type)
	return e
}

const (
	hexB = "9ffa7e757ee738d403f6050a3df03d693460c493c2b204a75e32526ce75a2b2c"
	hexC = "f94f648a33955b237fa0c73c867fb301200eb5fc077f822f6d899f8cb673ef11"
)

// n08, n09, n10: what Erlang nodes are sent of an RPC_REQUEST to another one is what was
// recorded; of an answer that the gateway itself gives all but its id and the time.
func TestReplayedRequests(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	b, c := dial(t, n, "127.0.0.1").as(hexB), dial(t, n, "127.0.0.1").as(hexC)
	for _, name := range []string{"n08-rpc-request", "n10-rpc-request-noproc"} {
		t.Run(name, func(t *testing.T) {
			s := recorded(t, "live-one-gateway.json", name)
			c.replay(s.of(t, "c", "send", "RPC_REQUEST")[0])
			requireSame(t, s.of(t, "a", "send", "RPC_REQUEST")[0], b.next())
			b.replay(s.of(t, "b", "send", "RPC_REPLY")[0])
			requireSame(t, s.of(t, "a", "send", "RPC_REPLY")[0], c.next())
		})
	}
	t.Run("n09-rpc-request-nobody", func(t *testing.T) {
		s := recorded(t, "live-one-gateway.json", "n09-rpc-request-nobody")
		other := dial(t, n, "127.0.0.1")
		other.write(wire.RawMap(wire.Pair{Key: "type", Value: wire.RawText("relay_request")}, wire.Pair{Key: "target_node_id", Value: wire.RawText(hexB)}))
		other.open().replay(s.of(t, "c", "send", "RPC_REQUEST")[0])
		requireSame(t, s.of(t, "a", "send", "RPC_REPLY")[0], c.next(), "from_node", "timestamp")
	})
}

// n11, n12: macula:call. The FIND_VALUE_REPLY is as recorded; an RPC_ROUTE that the
// reference lost reaches its provider, and the REPLY is the one that ended the call well.
// n13: a miss is an answer that does not end the wait, as there.
func TestReplayedCalls(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	connects := recorded(t, "live-one-gateway.json", "n01-connect")
	b := dial(t, n, "127.0.0.1").again(connects.of(t, "b", "send", "CONNECT")[0])
	c := dial(t, n, "127.0.0.1").again(connects.of(t, "c", "send", "CONNECT")[0])
	n11 := recorded(t, "live-one-gateway.json", "n11-rpc-call")
	b.replay(n11.of(t, "b", "send", "STORE")[0])
	b.send(&wire.Ping{})
	require.Equal(t, wire.TypePong, b.next().Type)
	c.replay(n11.of(t, "c", "send", "FIND_VALUE")[0])
	requireSame(t, n11.of(t, "a", "send", "FIND_VALUE_REPLY")[0], c.next())

	n12 := recorded(t, "live-one-gateway.json", "n12-rpc-call-answered")
	want := n12.of(t, "a", "send", "REPLY")[0]
	var recordedReply wire.Reply
	require.NoError(t, recordedReply.Decode(want.Payload))
	c.replay(n12.of(t, "c", "send", "RPC_ROUTE")[0])
	request := b.message().(*wire.RPCRequest)
	require.Equal(t, "be.cortexiq.test.add", request.Procedure)
	require.Equal(t, `{"x":2}`, text(request.Args))
	b.send(&wire.RPCReply{RequestID: request.RequestID, FromNode: request.TargetNode, ToNode: request.FromNode, Result: recordedReply.Result})
	requireSame(t, want, c.next())
	c.replay(n12.of(t, "c", "send", "RPC_ROUTE")[1])
	request = b.message().(*wire.RPCRequest)
	b.send(&wire.RPCReply{RequestID: request.RequestID, FromNode: request.TargetNode, ToNode: request.FromNode, Error: "not_found"})
	reply := c.message().(*wire.Reply)
	require.Equal(t, "not_found", reply.Error.Code)

	n13 := recorded(t, "live-one-gateway.json", "n13-rpc-call-miss")
	c.replay(n13.of(t, "c", "send", "FIND_VALUE")[0])
	miss := c.message().(*wire.FindValueReply)
	require.Empty(t, miss.Values)
	require.Empty(t, miss.Reason)
}

// m07, m08: an RPC_ROUTE call of what the gateway itself serves, be its caller another
// gateway, is answered by REPLY on its stream, and what the reference crashed by is
// answered too.
func TestReplayedCallsOfAGateway(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	self := n.ID()
	for name, key := range map[string]string{"m07-rpc-route-call": "loc", "m08-rpc-route-ok-tuple": "ok"} {
		t.Run(name, func(t *testing.T) {
			s := recorded(t, "live-three-gateways.json", name)
			_, err := n.Calls().Serve(within(t), "be.cortexiq.test."+key+"b", func(_ context.Context, r *rpc.Request) (any, error) {
				return map[string]any{key: r.Args}, nil
			})
			require.NoError(t, err)
			a := dial(t, n, "127.0.0.1") // that never CONNECTed
			for _, f := range s.of(t, "a", "send", "RPC_ROUTE") {
				f.Payload = bytes.Replace(f.Payload, unhex(t, "c74147086c4761be99adbd37cd80ba1505e27e786682de46cea13a17e13d4071"), self[:], 1)
				a.replay(f)
				reply := a.message().(*wire.Reply)
				require.Nil(t, reply.Error)
				require.JSONEq(t, `{"`+key+`":{"x":1}}`, text(reply.Result))
			}
		})
	}
}

func unhex(t *testing.T, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(t, err)
	return b
}
