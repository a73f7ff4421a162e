package safety_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// newDialer returns a dialer that is closed, in time, when the test ends.
func newDialer(tb testing.TB, opts ...dialer.Option) *dialer.Dialer {
	tb.Helper()
	d, err := dialer.New(opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { compattest.RequireCloses(tb, d.Close) })
	return d
}

func text(s string) wire.Raw { return wire.RawText(s) }

// strText is text as most MessagePack libraries write it.
func strText(s string) wire.Raw { return append(wire.Raw{0xa0 | byte(len(s))}, s...) }

func storeCall(args wire.Raw) *wire.Call {
	return &wire.Call{Procedure: wire.ProcedureStore, Args: args, CallID: []byte("0123456789abcdef")}
}

func storeArgs(key string, value wire.Raw) wire.Raw {
	return wire.RawMap(wire.Pair{Key: "key", Value: text(key)}, wire.Pair{Key: "value", Value: value})
}

// stranger is a message that another package could have made up.
type stranger struct{ wire.Ping }

func (stranger) Type() wire.Type { return wire.TypeStore }

func TestHarmfulMessagesDoNotLeave(t *testing.T) {
	value := compattest.Provider("n")
	long := bytes.Repeat([]byte("k"), wire.MaxField+1)
	sixteenBytes := []byte("0123456789abcdef")
	tests := map[string]struct {
		m  wire.Message
		is error
	}{
		"STORE of a gateway":                    {&wire.Store{Key: []byte("peer.gateway.abc"), Value: value}, safety.ErrHarmful},
		"STORE of the bare prefix":              {&wire.Store{Key: []byte("peer.gateway."), Value: value}, safety.ErrHarmful},
		"STORE of a text":                       {&wire.Store{Key: []byte("k"), Value: text("v")}, safety.ErrHarmful},
		"STORE of a list":                       {&wire.Store{Key: []byte("k"), Value: wire.RawArray()}, safety.ErrHarmful},
		"STORE of nil":                          {&wire.Store{Key: []byte("k"), Value: wire.Raw{0xc0}}, safety.ErrHarmful},
		"STORE of half a map":                   {&wire.Store{Key: []byte("k"), Value: wire.Raw{0x81, 0xc4}}, safety.ErrHarmful},
		"STORE of a map and more":               {&wire.Store{Key: []byte("k"), Value: append(compattest.Provider("n"), 1)}, safety.ErrHarmful},
		"STORE of bad UTF-8":                    {&wire.Store{Key: []byte("k"), Value: wire.RawMap(wire.Pair{Key: "a", Value: wire.Raw{0xa1, 0xff}})}, safety.ErrHarmful},
		"STORE without node_id":                 {&wire.Store{Key: []byte("k"), Value: wire.RawMap(wire.Pair{Key: "a", Value: wire.Raw{0xc0}})}, safety.ErrHarmful},
		"STORE of a short node_id":              {&wire.Store{Key: []byte("k"), Value: wire.RawMap(wire.Pair{Key: "node_id", Value: text("me")})}, safety.ErrHarmful},
		"STORE of a nil endpoint":               {&wire.Store{Key: []byte("k"), Value: compattest.Provider("n", wire.Pair{Key: "endpoint", Value: wire.Raw{0xc0}})}, safety.ErrHarmful},
		"STORE of an endpoint that is a str":    {&wire.Store{Key: []byte("k"), Value: compattest.Provider("n", wire.Pair{Key: "endpoint", Value: strText("https://x")})}, values.ErrHarmful},
		"_dht.store of a short node_id":         {storeCall(storeArgs("k", wire.RawMap(wire.Pair{Key: "node_id", Value: text("me")}))), values.ErrHarmful},
		"STORE of an ext type":                  {&wire.Store{Key: []byte("k"), Value: wire.RawMap(wire.Pair{Key: "a", Value: wire.Raw{0xd4, 1, 1}})}, safety.ErrHarmful},
		"STORE without value":                   {&wire.Store{Key: []byte("k")}, safety.ErrHarmful},
		"STORE without key":                     {&wire.Store{Value: value}, proto.ErrInvalidRequest},
		"STORE with a long key":                 {&wire.Store{Key: long, Value: value}, proto.ErrInvalidRequest},
		"_dht.store of a gateway":               {storeCall(storeArgs("peer.gateway.abc", value)), safety.ErrHarmful},
		"_dht.store of a gateway, str keys":     {storeCall(append(append(append(wire.Raw{0x82}, strText("key")...), text("peer.gateway.abc")...), append(strText("value"), value...)...)), safety.ErrHarmful},
		"_dht.store of a text":                  {storeCall(storeArgs("k", text("v"))), safety.ErrHarmful},
		"_dht.store with args of text":          {storeCall(text("{}")), safety.ErrHarmful},
		"_dht.store with args of a list":        {storeCall(wire.RawArray()), safety.ErrHarmful},
		"_dht.store with nil args":              {storeCall(wire.Raw{0xc0}), safety.ErrHarmful},
		"_dht.store without args":               {storeCall(nil), safety.ErrHarmful},
		"_dht.store without value":              {storeCall(wire.RawMap(wire.Pair{Key: "key", Value: text("k")})), safety.ErrHarmful},
		"CALL with args of a list":              {&wire.Call{Procedure: "any", Args: wire.RawArray(), CallID: sixteenBytes}, safety.ErrHarmful},
		"CALL with args of text":                {&wire.Call{Procedure: "any", Args: text("{}"), CallID: sixteenBytes}, safety.ErrHarmful},
		"CALL with broken args":                 {&wire.Call{Procedure: "any", Args: wire.Raw{0x81}, CallID: sixteenBytes}, proto.ErrInvalidRequest},
		"CALL without procedure":                {&wire.Call{Args: wire.RawMap(), CallID: sixteenBytes}, proto.ErrInvalidRequest},
		"CONNECT":                               {&wire.Connect{Version: "1.0", NodeID: sixteenBytes, RealmID: "r", Endpoint: "https://a:1"}, safety.ErrHarmful},
		"FIND_NODE":                             {&wire.FindNode{Target: sixteenBytes}, safety.ErrFindNode},
		"FIND_NODE is harmful":                  {&wire.FindNode{Target: sixteenBytes}, safety.ErrHarmful},
		"FIND_VALUE without key":                {&wire.FindValue{}, proto.ErrInvalidRequest},
		"FIND_VALUE with a long key":            {&wire.FindValue{Key: long}, proto.ErrInvalidRequest},
		"an unknown type":                       {&wire.Opaque{MessageType: 0xee}, safety.ErrHarmful},
		"a type that is known by its name only": {&wire.Opaque{MessageType: wire.TypeSWIMPing}, safety.ErrHarmful},
		"a PING of one's own making":            {&wire.Opaque{MessageType: wire.TypePing, Fields: wire.Raw{5}}, safety.ErrHarmful},
		"a STORE of one's own making":           {&stranger{}, safety.ErrHarmful},
		"PONG":                                  {&wire.Pong{}, safety.ErrHarmful},
		"STORE of 10 kB":                        {&wire.Store{Key: []byte("k"), Value: compattest.Provider("n", wire.Pair{Key: "d", Value: wire.RawBytes(make([]byte, safety.MaxFrame))})}, safety.ErrTooLargeForPeer},
		"STORE of 70 kB":                        {&wire.Store{Key: []byte("k"), Value: compattest.Provider("n", wire.Pair{Key: "d", Value: wire.RawBytes(make([]byte, 70_000))})}, safety.ErrTooLargeForPeer},
		"PUBLISH without topic":                 {&wire.Publish{Payload: text("p"), MessageID: sixteenBytes}, safety.ErrHarmful},
		"PUBLISH without payload":               {&wire.Publish{Topic: "t", MessageID: sixteenBytes}, safety.ErrHarmful},
		"PUBLISH without message_id":            {&wire.Publish{Topic: "t", Payload: text("p")}, safety.ErrHarmful},
		"PUBSUB_ROUTE without destination":      {routeOf(func(m *wire.PubSubRoute) { m.Destination = nil }), safety.ErrHarmful},
		"PUBSUB_ROUTE without source":           {routeOf(func(m *wire.PubSubRoute) { m.Source = nil }), safety.ErrHarmful},
		"PUBSUB_ROUTE without topic":            {routeOf(func(m *wire.PubSubRoute) { m.Topic = "" }), safety.ErrHarmful},
		"PUBSUB_ROUTE without payload":          {routeOf(func(m *wire.PubSubRoute) { m.Payload = nil }), safety.ErrHarmful},
		"PUBSUB_ROUTE of an incomplete PUBLISH": {routeOf(func(m *wire.PubSubRoute) { m.Payload = wire.RawMap(wire.Pair{Key: "topic", Value: text("t")}) }), safety.ErrHarmful},
		"PUBSUB_ROUTE of a topic that is no bin": {routeOf(func(m *wire.PubSubRoute) {
			m.Payload = (&wire.Publish{Topic: "t", Payload: text("p"), MessageID: sixteenBytes}).AppendPayload(nil)
			at := bytes.Index(m.Payload, []byte("topic")) + len("topic")
			m.Payload = append(append(m.Payload[:at:at], strText("t")...), m.Payload[at+3:]...)
		}), safety.ErrHarmful},
		"PUBLISH of 2 MB": {&wire.Publish{Topic: "t", Payload: wire.RawBytes(make([]byte, 2<<20)), MessageID: sixteenBytes}, safety.ErrTooLargeForPeer},
	}
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var err error
			if _, asks := test.m.Type().Reply(); asks {
				_, err = d.Query(compattest.Context(t), compattest.At(e.Endpoint()), test.m)
			} else {
				err = d.Send(compattest.Context(t), compattest.At(e.Endpoint()), test.m)
			}
			require.ErrorIs(t, err, test.is)
			require.NotErrorIs(t, err, proto.ErrUnreachable)
		})
	}
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint())) // comes behind all else
	require.NoError(t, err)
	require.Equal(t, 1, e.Count(), "nothing else has left")
	e.RequireSpared()
}

func TestHarmlessMessagesLeave(t *testing.T) {
	sixteenBytes := []byte("0123456789abcdef")
	for name, m := range map[string]wire.Message{
		"PING":                              &wire.Ping{},
		"DISCONNECT":                        &wire.Disconnect{Reason: "normal"},
		"SUBSCRIBE":                         &wire.Subscribe{Topics: []string{"a"}},
		"UNSUBSCRIBE":                       &wire.Unsubscribe{Topics: []string{"a"}},
		"PUBLISH":                           &wire.Publish{Topic: "a", Payload: wire.RawText("p"), MessageID: sixteenBytes},
		"PUBSUB_ROUTE":                      routeOf(func(*wire.PubSubRoute) {}),
		"NAT_PROBE":                         &wire.NATProbe{NodeID: sixteenBytes, RequestID: sixteenBytes},
		"RPC_REQUEST":                       &wire.RPCRequest{RequestID: sixteenBytes, Procedure: "p", Args: wire.RawMap(), FromNode: sixteenBytes},
		"FIND_NODE, forced":                 &wire.FindNode{Target: sixteenBytes},
		"FIND_VALUE":                        &wire.FindValue{Key: sixteenBytes},
		"STORE":                             &wire.Store{Key: []byte("peer.gatewa"), Value: compattest.Provider("n")},
		"STORE of an endpoint":              &wire.Store{Key: sixteenBytes, Value: compattest.Provider("n", wire.Pair{Key: "endpoint", Value: text("https://x:1")})},
		"_dht.store":                        storeCall(storeArgs("k", compattest.Provider("n"))),
		"_dht.list_gateways":                &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawMap(), CallID: sixteenBytes},
		"_dht.list_gateways, args of text":  &wire.Call{Procedure: wire.ProcedureListGateways, Args: text("{}"), CallID: sixteenBytes},
		"a procedure that is not the DHT's": &wire.Call{Procedure: "my.app", Args: wire.RawMap(), CallID: sixteenBytes},
	} {
		t.Run(name, func(t *testing.T) {
			e := compattest.StartErlang(t, "127.0.0.1:0")
			d := newDialer(t, dialer.WithForcedFindNode())
			if _, asks := m.Type().Reply(); asks {
				d.Query(compattest.Context(t), compattest.At(e.Endpoint()), m) // whatever it answers
			} else {
				require.NoError(t, d.Send(compattest.Context(t), compattest.At(e.Endpoint()), m))
			}
			compattest.Eventually(t, func() bool { return e.Count(m.Type()) == 1 }, "it came")
			e.RequireSpared()
		})
	}
}

// routeOf returns a PUBSUB_ROUTE that is whole, but for a change.
func routeOf(change func(*wire.PubSubRoute)) *wire.PubSubRoute {
	id := []byte("0123456789abcdef")
	m := &wire.PubSubRoute{
		Route: wire.Route{Destination: id, Source: id, MaxHops: 10, Payload: (&wire.Publish{Topic: "t", Payload: text("p"), MessageID: id}).AppendPayload(nil)},
		Topic: "t",
	}
	change(m)
	return m
}

func TestForcedFindNodeNeedsATarget(t *testing.T) {
	_, err := safety.Encode(&wire.FindNode{}, true)
	require.ErrorIs(t, err, safety.ErrHarmful)
}

// A frame of just the limit still leaves, in one Write.
func TestLongestFrame(t *testing.T) {
	publish := func(size int) *wire.Publish {
		return &wire.Publish{Topic: "t", Payload: wire.RawBytes(make([]byte, size)), MessageID: []byte("i")}
	}
	pad := safety.MaxFrame - len(compattest.Frames(t, publish(5000))) + 5000
	longest, err := safety.Encode(publish(pad), false)
	require.NoError(t, err)
	require.Len(t, longest, safety.MaxFrame)
	_, err = safety.Encode(publish(pad+1), false)
	require.ErrorIs(t, err, safety.ErrTooLargeForPeer)
	require.ErrorContains(t, err, "10001 bytes, limit 10000")
}

// Where a key is there twice, as bin and as str, an Erlang node reads only the
// first. It must not see what was not looked at.
func TestStoreArgsAreRewritten(t *testing.T) {
	var args wire.Raw = []byte{0x85}
	for _, pair := range [][2]wire.Raw{
		{text("key"), text("peer.gateway.hidden")},
		{text("value"), compattest.Provider("n")},
		{text("expires_in"), wire.RawInt(5)},
		{strText("key"), text("plain")},
		{text("other"), wire.RawArray()},
	} {
		args = append(append(args, pair[0]...), pair[1]...)
	}
	call := storeCall(args)
	frame, err := safety.Encode(call, false)
	require.NoError(t, err)
	require.NotContains(t, string(frame), "peer.gateway.")
	f, _, err := framing.DecodeFrame(frame)
	require.NoError(t, err)
	m, err := f.Decode()
	require.NoError(t, err)
	require.Equal(t, storeArgs("plain", compattest.Provider("n")), m.(*wire.Call).Args)
	require.Equal(t, wire.Raw(args), call.Args, "the caller's message is left alone")
}
