package maculadht

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// text returns a str, as most MessagePack libraries write texts.
func text(s string) wire.Raw { return msgp.AppendString(nil, s) }

func TestServeAnswers(t *testing.T) {
	srv := dhttest.Host(t)
	s := newService(t, srv)
	stream := dhttest.Open(t, dhttest.Host(t), srv)
	self := dhttest.NodeID(srv)
	long := strings.Repeat("k", wire.MaxField+1)

	tests := []struct {
		name string
		ask  wire.Message
		want wire.Message
	}{
		{"ping", &wire.Ping{Timestamp: wire.Some[int64](7)}, &wire.Pong{Timestamp: wire.Some[int64](7)}},
		{"find_value miss", &wire.FindValue{Key: []byte("nothing")}, &wire.FindValueReply{}},
		{"find_value of an empty key", &wire.FindValue{Key: []byte{}}, &wire.FindValueReply{}},
		{"find_value of the longest key", &wire.FindValue{Key: []byte(long[1:])}, &wire.FindValueReply{}},
		{"find_value with str", &wire.Opaque{MessageType: wire.TypeFindValue, Fields: append(wire.Raw{0x81}, append(text("key"), text("nothing")...)...)}, &wire.FindValueReply{}},
		{"find_value without key", dhttest.Fields(wire.TypeFindValue), &wire.FindValueReply{Reason: "missing_key"}},
		{"find_value with an integer key", dhttest.Fields(wire.TypeFindValue, wire.Pair{Key: "key", Value: wire.RawInt(1)}), &wire.FindValueReply{Reason: "invalid_key"}},
		{"find_value with too long a key", &wire.FindValue{Key: []byte(long)}, &wire.FindValueReply{Reason: "invalid_key"}},
		{"find_node", &wire.FindNode{Target: []byte("target")}, &wire.FindNodeReply{}},
		{"find_node without type", dhttest.Fields(wire.TypeFindNode, wire.Pair{Key: "target", Value: wire.RawText("t")}), &wire.FindNodeReply{}},
		{"find_node without target", dhttest.Fields(wire.TypeFindNode, wire.Pair{Key: "type", Value: wire.RawText("find_node")}), &wire.FindNodeReply{Reason: "missing_target"}},
		{"find_node with a list for a target", dhttest.Fields(wire.TypeFindNode, wire.Pair{Key: "target", Value: wire.RawArray()}), &wire.FindNodeReply{Reason: "invalid_target"}},
		{"find_node with too long a target", &wire.FindNode{Target: []byte(long)}, &wire.FindNodeReply{Reason: "invalid_target"}},
		{"call of another procedure", &wire.Call{Procedure: "echo", CallID: []byte("1")},
			&wire.Reply{CallID: []byte("1"), Error: &wire.CallError{Code: "gateway_bootstrap_only"}}},
		{"call without procedure", dhttest.Fields(wire.TypeCall, wire.Pair{Key: "call_id", Value: wire.RawText("2")}),
			&wire.Reply{CallID: []byte("2"), Error: &wire.CallError{Code: "invalid_args"}}},
		{"call without call_id", &wire.Call{Procedure: "echo"},
			&wire.Reply{CallID: []byte("undefined"), Error: &wire.CallError{Code: "gateway_bootstrap_only"}}},
		{"list_gateways", &wire.Call{Procedure: "_dht.list_gateways", Args: wire.RawMap(), CallID: []byte("3")},
			&wire.Reply{CallID: []byte("3"), Result: procedures.GatewayList{}.Raw()}},
		{"list_gateways with text", &wire.Call{Procedure: "_dht.list_gateways", Args: wire.RawText("{}"), CallID: []byte("4")},
			&wire.Reply{CallID: []byte("4"), Result: procedures.GatewayList{}.Raw()}},
		{"rpc_request", &wire.RPCRequest{RequestID: []byte("r"), Procedure: "p"},
			&wire.RPCReply{RequestID: []byte("r"), FromNode: self, Error: "rpc_handler_not_available"}},
		{"rpc_request of nothing", dhttest.Fields(wire.TypeRPCRequest),
			&wire.RPCReply{RequestID: []byte("undefined"), FromNode: self, Error: "rpc_handler_not_available"}},
		{"nat_probe", &wire.NATProbe{RequestID: []byte("n")}, &wire.NATProbeReply{NodeID: self, RequestID: []byte("n")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := stream.Ask(test.ask)
			switch m := got.(type) { // what differs from run to run
			case *wire.Pong:
				require.True(t, m.ServerTime.Set)
				m.ServerTime = wire.Opt[int64]{}
			case *wire.NATProbeReply:
				seen := stream.Conn().LocalMultiaddr().String()
				require.Contains(t, seen, fmt.Sprintf("/ip4/%s/udp/%d/", m.ReflexiveIP, m.ReflexivePort))
				require.True(t, m.ServerTime.Set)
				m.ReflexiveIP, m.ReflexivePort, m.ServerTime = "", 0, wire.Opt[int64]{}
			case *wire.RPCReply:
				require.True(t, m.Timestamp.Set)
				m.Timestamp = wire.Opt[int64]{}
			case *wire.Reply:
				if m.Error != nil {
					require.NotEmpty(t, m.Error.Message)
					m.Error.Message = ""
				}
			}
			require.Equal(t, test.want, got)
		})
	}
	require.Zero(t, s.Handlers().Mux().Stats().Resets)
}

func TestServeConnectIsAnswered(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	newService(t, srv, WithHandlers(dht.WithEndpoint(func() string { return "https://192.0.2.1:9443" })))
	stream := dhttest.Open(t, asker, srv)

	pong := stream.Ask(&wire.Connect{NodeID: dhttest.NodeID(asker), RealmID: proto.DefaultRealm}).(*wire.Pong)
	require.Equal(t, dhttest.NodeID(srv), pong.NodeID)
	require.Equal(t, proto.DefaultRealm, pong.RealmID)
	require.Equal(t, "https://192.0.2.1:9443", pong.Endpoint)
	require.Equal(t, addressing.EncodeAddrs(srv.Addrs()), pong.Addrs)
	require.True(t, pong.Timestamp.Set && pong.ServerTime.Set)
	require.IsType(t, &wire.Pong{}, stream.Ask(&wire.Ping{}), "the stream goes on")
}

func TestServeTurnsAway(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv)
	tests := []struct {
		name    string
		connect wire.Message
		reason  string
	}{
		{"another realm", &wire.Connect{NodeID: dhttest.NodeID(asker), RealmID: "elsewhere"}, "realm_mismatch"},
		{"no realm", dhttest.Fields(wire.TypeConnect, wire.Pair{Key: "node_id", Value: wire.RawText("x")}), "realm_mismatch"},
		{"another's node id", &wire.Connect{NodeID: dhttest.NodeID(srv), RealmID: proto.DefaultRealm}, "node_id_mismatch"},
		{"a node id in hexadecimal", &wire.Connect{NodeID: fmt.Appendf(nil, "%x", dhttest.NodeID(asker)), RealmID: proto.DefaultRealm}, "node_id_mismatch"},
		{"no node id", dhttest.Fields(wire.TypeConnect, wire.Pair{Key: "realm_id", Value: wire.RawText(proto.DefaultRealm)}), "invalid_connect"},
		{"no node id behind a bad endpoint", dhttest.Fields(wire.TypeConnect,
			wire.Pair{Key: "endpoint", Value: wire.RawInt(1)},
			wire.Pair{Key: "realm_id", Value: wire.RawText(proto.DefaultRealm)}), "invalid_connect"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := dhttest.Open(t, asker, srv)
			why := stream.Ask(test.connect).(*wire.Disconnect)
			require.Equal(t, test.reason, why.Reason)
			require.NotEmpty(t, why.Message)
			_, err := stream.In.Next()
			require.EqualError(t, err, "EOF", "closed in order")
		})
	}
	require.Zero(t, s.Handlers().Mux().Stats().Resets)
	require.Empty(t, s.Routing().Contacts())
}

// Only seven types have a reply; after any other the stream goes on.
func TestServeTakesWhatHasNoReply(t *testing.T) {
	srv := dhttest.Host(t)
	s := newService(t, srv)
	stream := dhttest.Open(t, dhttest.Host(t), srv)
	unknown := uint64(0)
	for id := range 256 {
		typ := wire.Type(id)
		if _, asks := typ.Reply(); asks {
			continue
		}
		payload := []byte{0x80}
		if !typ.Known() {
			unknown++
			payload = []byte{0xc1} // not even MessagePack
		}
		stream.WriteAll(dhttest.Frame(typ, payload...))
		pong := stream.Ask(&wire.Ping{Timestamp: wire.Some(int64(id))}).(*wire.Pong)
		require.Equal(t, wire.Some(int64(id)), pong.Timestamp, "after %s", typ)
	}
	stats := s.Handlers().Mux().Stats()
	require.Equal(t, unknown, stats.Unknown)
	require.Equal(t, uint64(256-7+256-7), stats.Frames)
	require.Equal(t, uint64(1), s.Handlers().Stats().DroppedStores, "the STORE without key")
}

func TestServeResets(t *testing.T) {
	deep := append(bytes.Repeat([]byte{0x91}, 17), 0xc0)
	nested := append([]byte{0x81, 0xc4, 1, 'x'}, deep...)
	tests := []struct {
		name  string
		frame []byte
		close bool
		want  proto.ResetCode
	}{
		{name: "bad version", frame: []byte{2, 3, 0, 0, 0, 0, 0, 1, 0x80}, want: proto.ResetBadVersion},
		{name: "bad version alone", frame: []byte{'G'}, want: proto.ResetBadVersion},
		{name: "too large", frame: []byte{1, byte(wire.TypePing), 0, 0, 0, 0x10, 0, 1}, want: proto.ResetTooLarge},
		{name: "too large, unknown type", frame: []byte{1, 0xee, 0, 0, 0xff, 0xff, 0xff, 0xff}, want: proto.ResetTooLarge},
		{name: "no MessagePack", frame: dhttest.Frame(wire.TypeFindValue, 0xc1), want: proto.ResetBadMsgpack},
		{name: "no payload", frame: dhttest.Frame(wire.TypePing), want: proto.ResetBadMsgpack},
		{name: "bytes after the map", frame: dhttest.Frame(wire.TypeFindNode, 0x80, 0x80), want: proto.ResetBadMsgpack},
		{name: "map cut short", frame: dhttest.Frame(wire.TypeCall, 0x82, 0xc4, 1, 'x', 1), want: proto.ResetBadMsgpack},
		{name: "too deep", frame: dhttest.Frame(wire.TypePing, nested...), want: proto.ResetBadMsgpack},
		{name: "ext type", frame: dhttest.Frame(wire.TypePing, 0x81, 0xc4, 1, 'x', 0xd4, 1, 1), want: proto.ResetBadMsgpack},
		{name: "str that is not UTF-8", frame: dhttest.Frame(wire.TypeStore, 0x81, 0xa1, 0xff, 1), want: proto.ResetBadMsgpack},
		{name: "broken, of a type that is only taken", frame: dhttest.Frame(wire.TypeSubscribe, 0x81), want: proto.ResetBadMsgpack},
		{name: "stream ends within a frame", frame: []byte{1, 3, 0, 0, 0, 0, 0, 5, 0x80}, close: true, want: proto.ResetBadMsgpack},
		{name: "connect is a list", frame: dhttest.Frame(wire.TypeConnect, 0x90), want: proto.ResetNotMap},
		{name: "find_value is a str", frame: dhttest.Frame(wire.TypeFindValue, 0xa0), want: proto.ResetNotMap},
		{name: "find_node is nil", frame: dhttest.Frame(wire.TypeFindNode, 0xc0), want: proto.ResetNotMap},
		{name: "call is a bin", frame: dhttest.Frame(wire.TypeCall, 0xc4, 0), want: proto.ResetNotMap},
		{name: "store is a list", frame: dhttest.Frame(wire.TypeStore, 0x90), want: proto.ResetNotMap},
		{name: "ping is an integer", frame: dhttest.Frame(wire.TypePing, 1), want: proto.ResetNotMap},
		{name: "nat_probe is a list", frame: dhttest.Frame(wire.TypeNATProbe, 0x90), want: proto.ResetNotMap},
		{name: "rpc_request is a list", frame: dhttest.Frame(wire.TypeRPCRequest, 0x90), want: proto.ResetNotMap},
		{name: "a reply is a list", frame: dhttest.Frame(wire.TypePong, 0x90), want: proto.ResetNotMap},
		{name: "publish is a list", frame: dhttest.Frame(wire.TypePublish, 0x90), want: proto.ResetNotMap},
	}
	srv, bad := dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv)
	sibling := dhttest.Open(t, bad, srv)           // of the same peer
	other := dhttest.Open(t, dhttest.Host(t), srv) // of another peer
	want := server.MuxStats{}.Resets
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := dhttest.Open(t, bad, srv)
			stream.WriteAll(test.frame)
			if test.close {
				require.NoError(t, stream.CloseWrite())
			}
			stream.RequireReset(test.want)
			require.IsType(t, &wire.Pong{}, sibling.Ask(&wire.Ping{}))
			require.IsType(t, &wire.Pong{}, other.Ask(&wire.Ping{}))
			want[test.want]++
			require.Equal(t, want, s.Handlers().Mux().Stats().Resets)
		})
	}
}

// A thousand frames of all kinds, written without waiting, in pieces of any
// size: each request is answered once, in order, and sees what was stored
// before it.
func TestServePipelined(t *testing.T) {
	srv := dhttest.Host(t)
	newService(t, srv)
	stream := dhttest.Open(t, dhttest.Host(t), srv)
	rng := rand.New(rand.NewPCG(1, 2))
	var out []byte
	var want []func(i int, m wire.Message)
	for i := range 1000 {
		id := fmt.Append(nil, i)
		value := dhttest.Value("p", wire.Pair{Key: "i", Value: wire.RawInt(int64(i))})
		var ask wire.Message
		var check func(int, wire.Message)
		switch rng.IntN(8) {
		case 0:
			ask = &wire.Ping{Timestamp: wire.Some(int64(i))}
			check = func(i int, m wire.Message) { require.Equal(t, wire.Some(int64(i)), m.(*wire.Pong).Timestamp) }
		case 1:
			out = append(out, dhttest.Frames(t, &wire.Store{Key: []byte("shared"), Value: value})...)
			ask = &wire.FindValue{Key: []byte("shared")}
			check = func(_ int, m wire.Message) { require.Equal(t, []wire.Raw{value}, m.(*wire.FindValueReply).Values) }
		case 2:
			ask = &wire.FindNode{Target: id}
			check = func(_ int, m wire.Message) { require.IsType(t, &wire.FindNodeReply{}, m) }
		case 3:
			args := procedures.StoreArgs{Key: []byte("shared"), Value: value}
			ask = &wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: id}
			check = func(_ int, m wire.Message) {
				require.Equal(t, &wire.Reply{CallID: id, Result: dhttest.StoreOK}, m)
			}
		case 4:
			ask = &wire.NATProbe{RequestID: id}
			check = func(_ int, m wire.Message) { require.Equal(t, id, m.(*wire.NATProbeReply).RequestID) }
		case 5:
			ask = &wire.RPCRequest{RequestID: id, Procedure: "p"}
			check = func(_ int, m wire.Message) { require.Equal(t, id, m.(*wire.RPCReply).RequestID) }
		case 6:
			ask = &wire.Publish{Topic: "no reply"}
		default:
			ask = dhttest.Fields(wire.TypeFindValue)
			check = func(_ int, m wire.Message) { require.Equal(t, &wire.FindValueReply{Reason: "missing_key"}, m) }
		}
		out = append(out, dhttest.Frames(t, ask)...)
		if check != nil {
			want = append(want, func(_ int, m wire.Message) { check(i, m) })
		}
	}
	written := make(chan error, 1)
	go func() {
		for len(out) > 0 {
			n := min(1+rng.IntN(500), len(out))
			if _, err := stream.Write(out[:n]); err != nil {
				written <- err
				return
			}
			out = out[n:]
		}
		written <- stream.CloseWrite()
	}()
	for i, check := range want {
		check(i, stream.Next())
	}
	require.NoError(t, <-written)
	_, err := stream.In.Next()
	require.EqualError(t, err, "EOF", "nothing else is answered")
}
