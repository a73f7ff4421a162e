package interop

import (
	"fmt"
	"testing"
)

// TestBadOrUnusualInput has the rows of that table, but for overload.
func TestBadOrUnusualInput(t *testing.T) {
	newBench(t).run(t, badInput)
}

var (
	anExt       = raw{0xd4, 0x01, 0x02}
	badText     = raw{0xa2, 0xff, 0xfe} // a str that is not UTF-8
	aValue      = doc{"node_id": bin("a"), "n": 1}
	readValueOf = obj{"node_id": bin("a"), "n": int64(1)}
)

var badInput = []row{
	// Framing: reset with its code.
	{name: "bad version 0", send: bytesOf(0, 3, 0, 0, 0, 0, 0, 1, 0x80), end: "reset 1"},
	{name: "bad version 2", send: bytesOf(2, 3, 0, 0, 0, 0, 0, 1, 0x80), end: "reset 1"},
	{name: "bad version in the first byte alone", send: bytesOf(0xff), end: "reset 1"},
	{name: "text", send: bytesOf([]byte("GET / HTTP/1.1\r\n\r\n")...), end: "reset 1"},
	{name: "too large", send: bytesOf(1, 3, 0, 0, 0, 0x10, 0, 1), end: "reset 2"},
	{name: "as large as can be said", send: bytesOf(1, 3, 0, 0, 0xff, 0xff, 0xff, 0xff), end: "reset 2"},
	{name: "flags and reserved are ignored", send: bytesOf(1, 3, 0xff, 0xff, 0, 0, 0, 0x0d, 0x81, 0xc4, 9, 't', 'i', 'm', 'e', 's', 't', 'a', 'm', 'p', 7),
		want: exactly(pong(int64(7)))},

	// MessagePack.
	{name: "no payload", send: whole(tPing, raw{}), end: "reset 3"},
	{name: "a byte that begins no value", send: whole(tFindValue, raw{0xc1}), end: "reset 3"},
	{name: "a map cut short", send: whole(tStore, raw{0x82, 0xc4, 1, 'a'}), end: "reset 3"},
	{name: "a byte after the value", send: whole(tCall, raw{0x80, 0x80}), end: "reset 3"},
	{name: "an ext", send: whole(tPing, doc{"x": anExt}), end: "reset 3"},
	{name: "a str that is not UTF-8", send: whole(tPing, doc{"x": badText}), end: "reset 3"},
	{name: "a str that is not UTF-8 for a key", send: whole(tPing, raw{0x81, 0xa2, 0xff, 0xfe, 1}), end: "reset 3"},
	{name: "garbage in what is not answered", send: whole(tSubscribe, raw{0xc1}), end: "reset 3"},
	{name: "payload nil", send: whole(tFindValue, nil), end: "reset 4"},
	{name: "payload an integer", send: whole(tPing, 5), end: "reset 4"},
	{name: "payload an array", send: whole(tConnect, []any{1}), end: "reset 4"},
	{name: "payload a str", send: whole(tStore, str("")), end: "reset 4"},
	{name: "payload a bin in what is not answered", send: whole(tPublish, bin("x")), end: "reset 4"},

	// FIND_VALUE and FIND_NODE.
	{name: "FIND_VALUE without key", send: whole(tFindValue, doc{}), want: failed(tFindValueReply, "missing_key")},
	{name: "FIND_VALUE with a nil key", send: whole(tFindValue, doc{"key": nil}), want: failed(tFindValueReply, "missing_key")},
	{name: "FIND_VALUE with an integer for a key", send: whole(tFindValue, doc{"key": 1}), want: failed(tFindValueReply, "invalid_key")},
	{name: "FIND_VALUE with a list for a key", send: whole(tFindValue, doc{"key": []any{}}), want: failed(tFindValueReply, "invalid_key")},
	{name: "FIND_VALUE with a str for a key", send: whole(tFindValue, strDoc{"key": str("k")}), want: exactly(noValue)},
	{name: "FIND_NODE", send: whole(tFindNode, doc{"target": bin("t")}), want: exactly(noNodes)},
	{name: "FIND_NODE with type", send: whole(tFindNode, doc{"type": bin("find_node"), "target": bin("t")}), want: exactly(noNodes)},
	{name: "FIND_NODE with another type", send: whole(tFindNode, doc{"type": 1, "target": bin("t")}), want: exactly(noNodes)},
	{name: "FIND_NODE in str", send: whole(tFindNode, strDoc{"target": str("t")}), want: exactly(noNodes)},
	{name: "FIND_NODE without target", send: whole(tFindNode, doc{}), want: failed(tFindNodeReply, "missing_target")},
	{name: "FIND_NODE with type and without target", send: whole(tFindNode, doc{"type": bin("find_node")}), want: failed(tFindNodeReply, "missing_target")},
	{name: "FIND_NODE with an integer for a target", send: whole(tFindNode, doc{"target": 1}), want: failed(tFindNodeReply, "invalid_target")},

	// STORE.
	{name: "STORE", send: keyed(tStore, doc{"value": aValue}), keeps: []any{readValueOf}},
	{name: "STORE with type", send: keyed(tStore, doc{"type": bin("store"), "value": aValue}), keeps: []any{readValueOf}},
	{name: "STORE of an empty map", send: keyed(tStore, doc{"value": doc{}}), keeps: []any{obj{}}},
	{name: "STORE without node_id, twice", keeps: []any{obj{"n": int64(1)}}, send: func(c *cell) [][]byte {
		return append(keyed(tStore, doc{"value": doc{"n": 1}})(c), keyed(tStore, doc{"value": doc{"n": 1}})(c)...)
	}},
	{name: "STORE without key", send: whole(tStore, doc{"value": aValue}), drops: 1},
	{name: "STORE without value", send: keyed(tStore, nil), drops: 1, keeps: nothing},
	{name: "STORE of a text", send: keyed(tStore, doc{"value": bin("plain")}), drops: 1, keeps: nothing},
	{name: "STORE of nil", send: keyed(tStore, doc{"value": nil}), drops: 1, keeps: nothing},
	{name: "STORE of an ext within", send: keyed(tStore, doc{"value": doc{"x": anExt}}), drops: 1, keeps: nothing},
	{name: "STORE of a str that is not UTF-8", send: keyed(tStore, doc{"value": doc{"x": badText}}), drops: 1, keeps: nothing},
	{name: "STORE with an integer for node_id", send: keyed(tStore, doc{"value": doc{"node_id": 1}}), drops: 1, keeps: nothing},
	{name: "STORE with an integer for endpoint", send: keyed(tStore, doc{"value": doc{"endpoint": 1}}), drops: 1, keeps: nothing},
	{name: "STORE under an integer", send: whole(tStore, doc{"key": 1, "value": aValue}), drops: 1},

	// CONNECT.
	{name: "CONNECT", send: connecting(nil), want: welcomed},
	{name: "CONNECT without endpoint", send: connecting(doc{"endpoint": nil}), want: welcomed},
	{name: "CONNECT of another realm", send: connecting(doc{"realm_id": bin("other.realm")}), end: "closed", endALPN: "refused realm_mismatch",
		want: turnedAway("realm_mismatch", `This node serves the realm "be.cortexiq.test", not "other.realm"`)},
	{name: "CONNECT without realm", send: connecting(doc{"realm_id": nil}), end: "closed", endALPN: "refused realm_mismatch",
		want: turnedAway("realm_mismatch", `This node serves the realm "be.cortexiq.test", not ""`)},
	{name: "CONNECT without node_id", send: connecting(doc{"node_id": nil}), end: "closed", endALPN: "refused invalid_connect",
		want: turnedAway("invalid_connect", `connect: missing field "node_id"`)},
	{name: "CONNECT with another's node id", on: overLibP2P, send: connecting(doc{"node_id": bin("erlang-client")}), end: "closed",
		want: func(c *cell) []message {
			return turnedAway("node_id_mismatch", fmt.Sprintf("The node id of peer %s is %x: the SHA-256 of its peer id",
				c.side.peer, string(c.side.nodeID)))(c)
		}},
	{name: "CONNECT with any node id", on: overALPN, send: connecting(doc{"node_id": bin("x")}), want: welcomed},
	{name: "CONNECT of another realm, then of ours", on: overALPN, want: func(c *cell) []message {
		return append(turnedAway("realm_mismatch", `This node serves the realm "be.cortexiq.test", not "other.realm"`)(c), welcomed(c)...)
	}, send: func(c *cell) [][]byte {
		return append(connecting(doc{"realm_id": bin("other.realm")})(c), connecting(nil)(c)...)
	}},
	{name: "CONNECT of another realm, then all that is answered or done", on: overALPN, keeps: nothing, endALPN: "refused realm_mismatch",
		send: func(c *cell) [][]byte {
			var writes [][]byte
			for _, w := range []func(*cell) [][]byte{
				connecting(doc{"realm_id": bin("other.realm")}),
				keyed(tStore, doc{"value": aValue}),
				whole(tPing, doc{"timestamp": 1}),
				keyed(tFindValue, nil),
				whole(tFindNode, doc{"target": bin("t")}),
				callStore(doc{"value": aValue}),
				whole(tFindValue, raw{0xc1}),
			} {
				writes = append(writes, w(c)...)
			}
			return writes
		}, want: func(c *cell) []message {
			text := `This node serves the realm "be.cortexiq.test", not "other.realm"`
			replies := turnedAway("realm_mismatch", text)(c)
			replies = append(replies, failed(tFindValueReply, "realm_mismatch")(c)...)
			replies = append(replies, failed(tFindNodeReply, "realm_mismatch")(c)...)
			return append(replies, callFailed("realm_mismatch", text)(c)...)
		}},

	// What ends any other stream is lost on one on which a CONNECT came.
	{name: "CONNECT, then no payload", on: overALPN, send: connectedThen(frame(tPing, raw{})), want: welcomed},
	{name: "CONNECT, then an ext", on: overALPN, send: connectedThen(frame(tPing, doc{"x": anExt})), want: welcomed},
	{name: "CONNECT, then a payload that is an integer", on: overALPN, send: connectedThen(frame(tPing, 5)), want: welcomed},
	{name: "CONNECT, then too large a payload", on: overALPN, want: welcomed,
		send: connectedThen(frame(tPing, padded(doc{"timestamp": 1}, 1<<20+1)))},

	// CALL and RPC_REQUEST.
	{name: "_dht.store", send: callStore(doc{"value": aValue}), want: exactly(storeOK), keeps: []any{readValueOf}},
	{name: "_dht.store without args", send: whole(tCall, doc{"call_id": bin("0123456789abcdef"), "procedure": bin("_dht.store")}),
		want: callFailed("invalid_args", "Missing required parameter: args")},
	{name: "_dht.store with JSON text for args", send: whole(tCall, doc{"call_id": bin("0123456789abcdef"), "procedure": bin("_dht.store"), "args": bin("{}")}),
		want: callFailed("invalid_args", "Invalid parameter: args: bin instead of a map")},
	{name: "_dht.store without key", send: whole(tCall, doc{"call_id": bin("0123456789abcdef"), "procedure": bin("_dht.store"), "args": doc{"value": aValue}}),
		want: callFailed("invalid_args", "Missing required parameter: key")},
	{name: "_dht.store without value", send: callStore(nil), keeps: nothing,
		want: callFailed("invalid_args", "Missing required parameter: value")},
	{name: "_dht.store under an integer", send: callStore(doc{"key": 1, "value": aValue}),
		want: callFailed("invalid_args", "Invalid parameter: key: int instead of bin or str")},
	{name: "_dht.store of a text", send: callStore(doc{"value": bin("plain")}), keeps: nothing, drops: 1,
		want: callFailed("invalid_args", "Invalid parameter: value: value can not be stored: a bin instead of a map")},
	{name: "_dht.store of an ext within", send: callStore(doc{"value": doc{"x": anExt}}), keeps: nothing, drops: 1,
		want: callFailed("invalid_args", "Invalid parameter: value: value can not be stored: bad MessagePack: ext types are not part of the dialect")},
	{name: "_dht.store of a copy without life", send: callStore(doc{"value": aValue, "expires_in": 0}), keeps: nothing,
		want: callFailed("invalid_args", "Invalid parameter: expires_in: 0 is not a positive number of seconds")},
	{name: "CALL of any other procedure", send: whole(tCall, doc{"call_id": bin("0123456789abcdef"), "procedure": bin("my.app.get"), "args": bin("{}")}),
		want: callFailed("gateway_bootstrap_only", "Gateway is bootstrap-only. Discover service via DHT and call peer directly")},
	{name: "CALL without procedure", send: whole(tCall, doc{"call_id": bin("0123456789abcdef")}),
		want: callFailed("invalid_args", "Missing required parameter: procedure")},
	{name: "CALL without call_id", send: whole(tCall, doc{"procedure": bin("x")}),
		want: func(*cell) []message {
			m := callFailed("gateway_bootstrap_only", "Gateway is bootstrap-only. Discover service via DHT and call peer directly")(nil)
			m[0].Fields["call_id"] = bin("undefined")
			return m
		}},
	{name: "RPC_REQUEST", send: whole(tRPCRequest, doc{"request_id": bin("0123456789abcdef"), "procedure": bin("no.such"), "args": bin("x"), "from_node": bin("me")}),
		want: exactly(message{tRPCReply, obj{"request_id": bin("0123456789abcdef"), "from_node": theID, "error": bin("rpc_handler_not_available"), "timestamp": theTime}})},

	// Taken and never answered.
	{name: "SUBSCRIBE", send: whole(tSubscribe, doc{"topics": []any{bin("a")}, "qos": 0})},
	{name: "UNSUBSCRIBE", send: whole(tUnsubscribe, doc{"topics": []any{bin("a")}})},
	{name: "PUBLISH", send: whole(tPublish, doc{"topic": bin("a"), "payload": bin("p")})},
	{name: "DISCONNECT", send: whole(tDisconnect, doc{"reason": bin("normal")})},
	{name: "PONG", send: whole(tPong, doc{"timestamp": 1})},
	{name: "REPLY", send: whole(tReply, doc{"call_id": bin("x")})},
	{name: "FIND_NODE_REPLY", send: whole(tFindNodeReply, doc{"nodes": []any{}})},
	{name: "FIND_VALUE_REPLY", send: whole(tFindValueReply, doc{"nodes": []any{}})},
	{name: "SWIM_PING", send: whole(tSWIMPing, doc{"from": bin("x")})},
	{name: "an unknown type", send: whole(tUnknown, doc{"a": 1})},
	{name: "garbage in an unknown type", send: whole(tUnknown, raw{0xc1})},

	// Order.
	{name: "all that is answered, in one write", send: func(c *cell) [][]byte {
		var b []byte
		for _, w := range [][][]byte{
			connecting(nil)(c),
			keyed(tStore, doc{"value": aValue})(c),
			whole(tPing, doc{"timestamp": 1})(c),
			whole(tFindNode, doc{})(c),
			whole(tSubscribe, doc{})(c),
			whole(tFindValue, doc{})(c),
			whole(tCall, doc{"call_id": bin("0123456789abcdef")})(c),
			whole(tPing, doc{"timestamp": 2})(c),
		} {
			b = append(b, w[0]...)
		}
		return [][]byte{b}
	}, keeps: []any{readValueOf}, want: func(c *cell) []message {
		replies := welcomed(c)
		replies = append(replies, pong(int64(1)))
		replies = append(replies, failed(tFindNodeReply, "missing_target")(c)...)
		replies = append(replies, failed(tFindValueReply, "missing_key")(c)...)
		replies = append(replies, callFailed("invalid_args", "Missing required parameter: procedure")(c)...)
		return append(replies, pong(int64(2)))
	}},
}

// connectedThen is a CONNECT that is welcomed, and bytes behind it.
func connectedThen(b []byte) func(*cell) [][]byte {
	return func(c *cell) [][]byte { return append(connecting(nil)(c), b) }
}

func bytesOf(b ...byte) func(*cell) [][]byte {
	return func(*cell) [][]byte { return [][]byte{b} }
}
