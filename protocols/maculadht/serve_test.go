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
)

// text returns a str, as most MessagePack libraries write texts.
func text(s string) wire.Raw { return msgp.AppendString(nil, s) }

// fieldsOf returns a message of any type with these fields.
func fieldsOf(t wire.Type, pairs ...wire.Pair) wire.Message {
	return &wire.Opaque{MessageType: t, Fields: wire.RawMap(pairs...)}
}

func TestServeAnswers(t *testing.T) {
	server := newHost(t)
	s := newService(t, server)
	stream := openRaw(t, newHost(t), server)
	self := nodeIDOf(server)
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
		{"find_value without key", fieldsOf(wire.TypeFindValue), &wire.FindValueReply{Reason: "missing_key"}},
		{"find_value with an integer key", fieldsOf(wire.TypeFindValue, wire.Pair{Key: "key", Value: wire.RawInt(1)}), &wire.FindValueReply{Reason: "invalid_key"}},
		{"find_value with too long a key", &wire.FindValue{Key: []byte(long)}, &wire.FindValueReply{Reason: "invalid_key"}},
		{"find_node", &wire.FindNode{Target: []byte("target")}, &wire.FindNodeReply{}},
		{"find_node without type", fieldsOf(wire.TypeFindNode, wire.Pair{Key: "target", Value: wire.RawText("t")}), &wire.FindNodeReply{}},
		{"find_node without target", fieldsOf(wire.TypeFindNode, wire.Pair{Key: "type", Value: wire.RawText("find_node")}), &wire.FindNodeReply{Reason: "missing_target"}},
		{"find_node with a list for a target", fieldsOf(wire.TypeFindNode, wire.Pair{Key: "target", Value: wire.RawArray()}), &wire.FindNodeReply{Reason: "invalid_target"}},
		{"find_node with too long a target", &wire.FindNode{Target: []byte(long)}, &wire.FindNodeReply{Reason: "invalid_target"}},
		{"call of another procedure", &wire.Call{Procedure: "echo", CallID: []byte("1")},
			&wire.Reply{CallID: []byte("1"), Error: &wire.CallError{Code: "gateway_bootstrap_only"}}},
		{"call without procedure", fieldsOf(wire.TypeCall, wire.Pair{Key: "call_id", Value: wire.RawText("2")}),
			&wire.Reply{CallID: []byte("2"), Error: &wire.CallError{Code: "invalid_args"}}},
		{"call without call_id", &wire.Call{Procedure: "echo"},
			&wire.Reply{CallID: []byte("undefined"), Error: &wire.CallError{Code: "gateway_bootstrap_only"}}},
		{"list_gateways", &wire.Call{Procedure: "_dht.list_gateways", Args: wire.RawMap(), CallID: []byte("3")},
			&wire.Reply{CallID: []byte("3"), Result: wire.GatewayList{}.Raw()}},
		{"list_gateways with text", &wire.Call{Procedure: "_dht.list_gateways", Args: wire.RawText("{}"), CallID: []byte("4")},
			&wire.Reply{CallID: []byte("4"), Result: wire.GatewayList{}.Raw()}},
		{"rpc_request", &wire.RPCRequest{RequestID: []byte("r"), Procedure: "p"},
			&wire.RPCReply{RequestID: []byte("r"), FromNode: self, Error: "rpc_handler_not_available"}},
		{"rpc_request of nothing", fieldsOf(wire.TypeRPCRequest),
			&wire.RPCReply{RequestID: []byte("undefined"), FromNode: self, Error: "rpc_handler_not_available"}},
		{"nat_probe", &wire.NATProbe{RequestID: []byte("n")}, &wire.NATProbeReply{NodeID: self, RequestID: []byte("n")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := stream.ask(test.ask)
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
	require.Zero(t, s.Stats().Resets)
}

func TestServeConnectIsAnswered(t *testing.T) {
	server, asker := newHost(t), newHost(t)
	newService(t, server, WithHandlers(HandleEndpoint(func() string { return "https://192.0.2.1:9443" })))
	stream := openRaw(t, asker, server)

	pong := stream.ask(&wire.Connect{NodeID: nodeIDOf(asker), RealmID: DefaultRealm}).(*wire.Pong)
	require.Equal(t, nodeIDOf(server), pong.NodeID)
	require.Equal(t, DefaultRealm, pong.RealmID)
	require.Equal(t, "https://192.0.2.1:9443", pong.Endpoint)
	require.Equal(t, encodeBare(server.Addrs()), pong.Addrs)
	require.True(t, pong.Timestamp.Set && pong.ServerTime.Set)
	require.IsType(t, &wire.Pong{}, stream.ask(&wire.Ping{}), "the stream goes on")
}

func TestServeTurnsAway(t *testing.T) {
	server, asker := newHost(t), newHost(t)
	s := newService(t, server)
	tests := []struct {
		name    string
		connect wire.Message
		reason  string
	}{
		{"another realm", &wire.Connect{NodeID: nodeIDOf(asker), RealmID: "elsewhere"}, "realm_mismatch"},
		{"no realm", fieldsOf(wire.TypeConnect, wire.Pair{Key: "node_id", Value: wire.RawText("x")}), "realm_mismatch"},
		{"another's node id", &wire.Connect{NodeID: nodeIDOf(server), RealmID: DefaultRealm}, "node_id_mismatch"},
		{"a node id in hexadecimal", &wire.Connect{NodeID: fmt.Appendf(nil, "%x", nodeIDOf(asker)), RealmID: DefaultRealm}, "node_id_mismatch"},
		{"no node id", fieldsOf(wire.TypeConnect, wire.Pair{Key: "realm_id", Value: wire.RawText(DefaultRealm)}), "invalid_connect"},
		{"no node id behind a bad endpoint", fieldsOf(wire.TypeConnect,
			wire.Pair{Key: "endpoint", Value: wire.RawInt(1)},
			wire.Pair{Key: "realm_id", Value: wire.RawText(DefaultRealm)}), "invalid_connect"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := openRaw(t, asker, server)
			why := stream.ask(test.connect).(*wire.Disconnect)
			require.Equal(t, test.reason, why.Reason)
			require.NotEmpty(t, why.Message)
			_, err := stream.in.Next()
			require.EqualError(t, err, "EOF", "closed in order")
		})
	}
	require.Zero(t, s.Stats().Resets)
	require.Empty(t, s.Routing().Contacts())
}

// Only seven types have a reply; after any other the stream goes on.
func TestServeTakesWhatHasNoReply(t *testing.T) {
	server := newHost(t)
	s := newService(t, server)
	stream := openRaw(t, newHost(t), server)
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
		stream.write(frame(typ, payload...))
		pong := stream.ask(&wire.Ping{Timestamp: wire.Some(int64(id))}).(*wire.Pong)
		require.Equal(t, wire.Some(int64(id)), pong.Timestamp, "after %s", typ)
	}
	stats := s.Stats()
	require.Equal(t, unknown, stats.Unknown)
	require.Equal(t, uint64(256-7+256-7), stats.Frames)
	require.Equal(t, uint64(1), stats.DroppedStores, "the STORE without key")
}

func TestServeResets(t *testing.T) {
	deep := append(bytes.Repeat([]byte{0x91}, 17), 0xc0)
	nested := append([]byte{0x81, 0xc4, 1, 'x'}, deep...)
	tests := []struct {
		name  string
		frame []byte
		close bool
		want  ResetCode
	}{
		{name: "bad version", frame: []byte{2, 3, 0, 0, 0, 0, 0, 1, 0x80}, want: ResetBadVersion},
		{name: "bad version alone", frame: []byte{'G'}, want: ResetBadVersion},
		{name: "too large", frame: []byte{1, byte(wire.TypePing), 0, 0, 0, 0x10, 0, 1}, want: ResetTooLarge},
		{name: "too large, unknown type", frame: []byte{1, 0xee, 0, 0, 0xff, 0xff, 0xff, 0xff}, want: ResetTooLarge},
		{name: "no MessagePack", frame: frame(wire.TypeFindValue, 0xc1), want: ResetBadMsgpack},
		{name: "no payload", frame: frame(wire.TypePing), want: ResetBadMsgpack},
		{name: "bytes after the map", frame: frame(wire.TypeFindNode, 0x80, 0x80), want: ResetBadMsgpack},
		{name: "map cut short", frame: frame(wire.TypeCall, 0x82, 0xc4, 1, 'x', 1), want: ResetBadMsgpack},
		{name: "too deep", frame: frame(wire.TypePing, nested...), want: ResetBadMsgpack},
		{name: "ext type", frame: frame(wire.TypePing, 0x81, 0xc4, 1, 'x', 0xd4, 1, 1), want: ResetBadMsgpack},
		{name: "str that is not UTF-8", frame: frame(wire.TypeStore, 0x81, 0xa1, 0xff, 1), want: ResetBadMsgpack},
		{name: "broken, of a type that is only taken", frame: frame(wire.TypeSubscribe, 0x81), want: ResetBadMsgpack},
		{name: "stream ends within a frame", frame: []byte{1, 3, 0, 0, 0, 0, 0, 5, 0x80}, close: true, want: ResetBadMsgpack},
		{name: "connect is a list", frame: frame(wire.TypeConnect, 0x90), want: ResetNotMap},
		{name: "find_value is a str", frame: frame(wire.TypeFindValue, 0xa0), want: ResetNotMap},
		{name: "find_node is nil", frame: frame(wire.TypeFindNode, 0xc0), want: ResetNotMap},
		{name: "call is a bin", frame: frame(wire.TypeCall, 0xc4, 0), want: ResetNotMap},
		{name: "store is a list", frame: frame(wire.TypeStore, 0x90), want: ResetNotMap},
		{name: "ping is an integer", frame: frame(wire.TypePing, 1), want: ResetNotMap},
		{name: "nat_probe is a list", frame: frame(wire.TypeNATProbe, 0x90), want: ResetNotMap},
		{name: "rpc_request is a list", frame: frame(wire.TypeRPCRequest, 0x90), want: ResetNotMap},
		{name: "a reply is a list", frame: frame(wire.TypePong, 0x90), want: ResetNotMap},
		{name: "publish is a list", frame: frame(wire.TypePublish, 0x90), want: ResetNotMap},
	}
	server, bad := newHost(t), newHost(t)
	s := newService(t, server)
	sibling := openRaw(t, bad, server)      // of the same peer
	other := openRaw(t, newHost(t), server) // of another peer
	want := Stats{}.Resets
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := openRaw(t, bad, server)
			stream.write(test.frame)
			if test.close {
				require.NoError(t, stream.CloseWrite())
			}
			stream.requireReset(test.want)
			require.IsType(t, &wire.Pong{}, sibling.ask(&wire.Ping{}))
			require.IsType(t, &wire.Pong{}, other.ask(&wire.Ping{}))
			want[test.want]++
			require.Equal(t, want, s.Stats().Resets)
		})
	}
}

// A thousand frames of all kinds, written without waiting, in pieces of any
// size: each request is answered once, in order, and sees what was stored
// before it.
func TestServePipelined(t *testing.T) {
	server := newHost(t)
	newService(t, server)
	stream := openRaw(t, newHost(t), server)
	rng := rand.New(rand.NewPCG(1, 2))
	var out []byte
	var want []func(i int, m wire.Message)
	for i := range 1000 {
		id := fmt.Append(nil, i)
		value := valueOf("p", wire.Pair{Key: "i", Value: wire.RawInt(int64(i))})
		var ask wire.Message
		var check func(int, wire.Message)
		switch rng.IntN(8) {
		case 0:
			ask = &wire.Ping{Timestamp: wire.Some(int64(i))}
			check = func(i int, m wire.Message) { require.Equal(t, wire.Some(int64(i)), m.(*wire.Pong).Timestamp) }
		case 1:
			out = append(out, frames(t, &wire.Store{Key: []byte("shared"), Value: value})...)
			ask = &wire.FindValue{Key: []byte("shared")}
			check = func(_ int, m wire.Message) { require.Equal(t, []wire.Raw{value}, m.(*wire.FindValueReply).Values) }
		case 2:
			ask = &wire.FindNode{Target: id}
			check = func(_ int, m wire.Message) { require.IsType(t, &wire.FindNodeReply{}, m) }
		case 3:
			args := wire.StoreArgs{Key: []byte("shared"), Value: value}
			ask = &wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: id}
			check = func(_ int, m wire.Message) {
				require.Equal(t, &wire.Reply{CallID: id, Result: storeOK}, m)
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
			ask = fieldsOf(wire.TypeFindValue)
			check = func(_ int, m wire.Message) { require.Equal(t, &wire.FindValueReply{Reason: "missing_key"}, m) }
		}
		out = append(out, frames(t, ask)...)
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
		check(i, stream.next())
	}
	require.NoError(t, <-written)
	_, err := stream.in.Next()
	require.EqualError(t, err, "EOF", "nothing else is answered")
}
