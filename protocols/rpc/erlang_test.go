package rpc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

const (
	alice = "alice---------------------------"
	bob   = "bob-----------------------------"
	carol = "carol---------------------------"
)

// macula:call of what a client at the same gateway answers: a result, an error, or
// nobody, and no caller crashes.
func TestErlangCallsErlang(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	vm := world(t)
	provider := connect(t, vm, n, "")
	provider.Advertise(realm + ".add")
	provider.Register(realm+".add", func(args []byte) glass.Outcome { return glass.Outcome{Result: []byte(`{"got":` + string(args) + `}`)} })
	provider.Advertise(realm + ".fails")
	provider.Register(realm+".fails", func([]byte) glass.Outcome { return glass.Outcome{Error: "first line\nsecond"} })
	provider.Advertise(realm + ".unknown")
	for _, procedure := range []string{".add", ".fails", ".unknown"} {
		stored(t, n, realm+procedure)
	}
	caller := connect(t, vm, n, "")

	result, err := caller.Call(within(t), realm+".add", []byte(`{"x":1}`))
	require.NoError(t, err)
	require.Equal(t, `{"got":{"x":1}}`, text(result))

	_, err = caller.Call(within(t), realm+".fails", []byte(`{}`))
	require.EqualError(t, err, "glass: handler_error: first line\nsecond")
	_, err = caller.Call(within(t), realm+".unknown", []byte(`{}`))
	require.ErrorContains(t, err, "procedure_not_found")

	provider.Close()
	require.Eventually(t, func() bool { return n.Service().Handlers().Mux().Clients().Len() == 1 }, patience, tick)
	_, err = caller.Call(within(t), realm+".add", []byte(`{}`))
	require.ErrorContains(t, err, "not_routed")
	require.Empty(t, vm.Broken())
}

// request_to goes to its node's newest stream as it came, and its answer to the newest
// stream of who asks, whichever way it was sent.
func TestErlangRequestsErlang(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	vm := world(t)
	provider, caller := connect(t, vm, n, strings.Repeat("b", 64)), connect(t, vm, n, strings.Repeat("c", 64))
	provider.Register("echo", func(args []byte) glass.Outcome { return glass.Outcome{Result: args} })
	for name, way := range map[string]glass.Way{"on its stream": glass.ByStream, "by a relay": glass.ByRelay} {
		t.Run(name, func(t *testing.T) {
			result, err := caller.Request(within(t), way, provider.ID(), "echo", []byte(`{"n":7}`))
			require.NoError(t, err)
			require.Equal(t, `{"n":7}`, text(result))
			_, err = caller.Request(within(t), way, provider.ID(), "none", []byte(`{}`))
			require.EqualError(t, err, "glass: procedure_not_found")
			_, err = caller.Request(within(t), way, []byte(strings.Repeat("f", 64)), "echo", []byte(`{}`))
			require.EqualError(t, err, "glass: target_peer_not_found")
		})
	}
	require.Zero(t, n.Service().Handlers().Mux().Stats().Resets[1], "a relay_request is no attack")
	require.Empty(t, vm.Broken())
}

// What a slow call holds up is nobody, not even on its own stream.
func TestASlowCallHoldsUpNothing(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	provider, caller := dial(t, n, "127.0.0.1").as(bob), dial(t, n, "127.0.0.1").as(alice)
	caller.send(route(1, alice, bob, "slow", "{}"), route(2, alice, bob, "fast", "{}"), &wire.Ping{Timestamp: wire.Some(int64(7))})
	slow, fast := provider.message().(*wire.RPCRequest), provider.message().(*wire.RPCRequest)
	require.Equal(t, wire.Some(int64(7)), caller.message().(*wire.Pong).Timestamp)
	for i, request := range []*wire.RPCRequest{fast, slow} {
		provider.send(&wire.RPCReply{RequestID: request.RequestID, FromNode: []byte(bob), ToNode: request.FromNode, Result: wire.RawText(fmt.Sprint(i))})
		reply := caller.message().(*wire.Reply)
		require.Equal(t, fmt.Sprintf("%015d%d", 0, 2-i), string(reply.CallID))
		require.Equal(t, fmt.Sprint(i), text(reply.Result))
	}
}

// A client may have a newer stream than the one that is its newest here: it answers there,
// and is heard. Who CONNECTs under its id from elsewhere, however often, is neither asked
// nor heard, be it that he registers its procedures.
func TestAnswersOnAnotherStream(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	caller := dial(t, n, "127.0.0.1").as(alice)
	answering, asked := dial(t, n, "127.0.0.1").as(bob), dial(t, n, "127.0.0.1").as(bob)
	var elsewhere *erlang
	for range 10 {
		elsewhere = dial(t, n, "127.0.0.2").as(bob)
	}
	for procedure, want := range map[string]string{"p": "true", "registered": `"true"`} { // a JSON text, and a value
		if procedure == "registered" {
			asked.send(&wire.RegisterProcedure{Procedure: procedure}, &wire.Ping{Timestamp: wire.Some(int64(7))})
			require.IsType(t, &wire.Pong{}, asked.message(), "what was sent before is served")
			elsewhere.send(&wire.RegisterProcedure{Procedure: procedure}, &wire.Ping{Timestamp: wire.Some(int64(7))})
			require.IsType(t, &wire.Pong{}, elsewhere.message())
		}
		caller.send(route(1, alice, bob, procedure, "{}"))
		answer := func(result string) wire.Message {
			switch m := asked.message().(type) {
			case *wire.RPCRequest:
				return &wire.RPCReply{RequestID: m.RequestID, FromNode: []byte(bob), ToNode: m.FromNode, Result: wire.RawText(result)}
			case *wire.Call:
				return &wire.Reply{CallID: m.CallID, Result: wire.RawText(result)}
			default:
				require.FailNow(t, "asked by another message", "%T", m)
				return nil
			}
		}("true")
		stray := n.Calls().Stats().Stray
		elsewhere.send(answer)
		require.Eventually(t, func() bool { return n.Calls().Stats().Stray == stray+1 }, patience, tick)
		answering.send(answer)
		reply := caller.message().(*wire.Reply)
		require.Nil(t, reply.Error)
		require.Equal(t, want, text(reply.Result))
	}
}

// What a provider does wrong is its caller's error, in time, and nobody else's.
func TestProvidersThatMisbehave(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	caller, mallory := dial(t, n, "127.0.0.1").as(alice), dial(t, n, "127.0.0.1").as(carol)
	answer := func(from *erlang, request *wire.RPCRequest, result string) {
		from.send(&wire.RPCReply{RequestID: request.RequestID, FromNode: []byte(bob), ToNode: request.FromNode, Result: wire.RawText(result)})
	}
	code := func() string {
		reply := caller.message().(*wire.Reply)
		require.NotNil(t, reply.Error)
		return reply.Error.Code
	}
	t.Run("dies in the middle", func(t *testing.T) {
		provider := dial(t, n, "127.0.0.1").as(bob)
		caller.send(route(1, alice, bob, "p", "{}"))
		provider.message()
		provider.conn.CloseWithError(0, "")
		require.Equal(t, wire.CodeProviderGone, code())
	})
	t.Run("answers twice, and for somebody else's call", func(t *testing.T) {
		provider := dial(t, n, "127.0.0.1").as(bob)
		stray := n.Calls().Stats().Stray
		caller.send(route(2, alice, bob, "p", "{}"))
		request := provider.message().(*wire.RPCRequest)
		answer(mallory, request, `"forged"`)
		mallory.send(&wire.RPCReply{RequestID: request.RequestID, ToNode: []byte(alice), Result: wire.RawText("forged")})
		require.Eventually(t, func() bool { return n.Calls().Stats().Stray == stray+2 }, patience, tick)
		answer(provider, request, `"true"`)
		answer(provider, request, `"again"`)
		require.Equal(t, `"true"`, text(caller.message().(*wire.Reply).Result))
		require.Eventually(t, func() bool { return n.Calls().Stats().Stray == stray+3 }, patience, tick)
		caller.send(&wire.Ping{})
		require.IsType(t, &wire.Pong{}, caller.message(), "and nothing else")
	})
	t.Run("answers what would crash its caller", func(t *testing.T) {
		provider := dial(t, n, "127.0.0.1").as(bob)
		caller.send(&wire.RPCRequest{RequestID: []byte("1234567890123456"), Procedure: "p", Args: wire.RawText("{}"), FromNode: []byte(alice), TargetNode: []byte(bob)})
		request := provider.message().(*wire.RPCRequest)
		provider.send(&wire.Opaque{MessageType: wire.TypeRPCReply, Fields: wire.RawMap(
			wire.Pair{Key: "request_id", Value: wire.RawBytes(request.RequestID)},
			wire.Pair{Key: "to_node", Value: wire.RawText(alice)},
			wire.Pair{Key: "timestamp", Value: wire.RawText("soon")},
			wire.Pair{Key: "result", Value: wire.RawText("{}")})})
		require.Contains(t, caller.message().(*wire.RPCReply).Error, "timestamp is of the type bin, want int")
	})
	t.Run("never answers", func(t *testing.T) {
		provider := dial(t, n, "127.0.0.1").as(bob)
		start := time.Now()
		caller.send(route(3, alice, bob, "p", "{}"))
		request := provider.message().(*wire.RPCRequest)
		require.Equal(t, wire.CodeTimeout, code())
		require.InDelta(t, 5.4, time.Since(start).Seconds(), 1, "after 4.5 s, however busy the machine")
		answer(provider, request, `"late"`)
		caller.send(&wire.Ping{})
		require.IsType(t, &wire.Pong{}, caller.message())
	})
	require.Eventually(t, func() bool { return n.Calls().Stats().Pending == 0 }, patience, tick)
}

// Whatever is wrong with an RPC_ROUTE call, it is answered on its stream.
func TestEveryRoutedCallIsAnswered(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	caller := dial(t, n, "127.0.0.1").as(alice)
	self := n.ID()
	with := func(change func(*wire.RPCRoute)) *wire.RPCRoute {
		m := route(1, alice, bob, "p", "{}")
		change(m)
		return m
	}
	for name, test := range map[string]struct {
		route *wire.RPCRoute
		code  string
	}{
		"nobody there":   {route(1, alice, bob, "p", "{}"), wire.CodeNotRouted},
		"not served":     {route(1, alice, string(self[:]), "p", "{}"), wire.ErrorProcedureNotFound},
		"no payload":     {with(func(m *wire.RPCRoute) { m.Payload = nil }), wire.CodeInvalidArgs},
		"no map":         {with(func(m *wire.RPCRoute) { m.Payload = wire.RawInt(1) }), wire.CodeInvalidArgs},
		"no procedure":   {with(func(m *wire.RPCRoute) { m.Payload = wire.RawMap() }), wire.CodeInvalidArgs},
		"no destination": {with(func(m *wire.RPCRoute) { m.Destination = nil }), wire.CodeInvalidArgs},
		"hops used up":   {with(func(m *wire.RPCRoute) { m.HopCount = 10 }), wire.CodeMaxHops},
		"another realm": {with(func(m *wire.RPCRoute) {
			m.Payload = (&wire.Call{Procedure: "p", CallID: []byte("x"), Realm: "other"}).AppendPayload(nil)
		}), wire.ReasonRealmMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			caller.send(test.route)
			reply := caller.message().(*wire.Reply)
			require.NotEmpty(t, reply.CallID)
			require.NotNil(t, reply.Error)
			require.Equal(t, test.code, reply.Error.Code, reply.Error.Message)
			require.NotEmpty(t, reply.Error.Message)
		})
	}
}

// Somebody who says that he is another one is answered himself.
func TestRequestsOfOthers(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	provider, victim := dial(t, n, "127.0.0.1").as(bob), dial(t, n, "127.0.0.1").as(alice)
	mallory := dial(t, n, "127.0.0.2")
	mallory.send(&wire.RPCRequest{RequestID: []byte("1234567890123456"), Procedure: "p", Args: wire.RawText("{}"), FromNode: []byte(alice), TargetNode: []byte(bob)})
	request := provider.message().(*wire.RPCRequest)
	provider.send(&wire.RPCReply{RequestID: request.RequestID, FromNode: []byte(bob), ToNode: request.FromNode, Result: wire.RawText("1")})
	reply := mallory.message().(*wire.RPCReply)
	require.Equal(t, "1234567890123456", string(reply.RequestID))
	require.Equal(t, "1", text(reply.Result))
	victim.send(&wire.Ping{})
	require.IsType(t, &wire.Pong{}, victim.message(), "and nothing else")
}
