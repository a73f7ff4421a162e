package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// TestNamesAndLimits has the rows of that table that one frame shows; the tests
// below have those that take several.
func TestNamesAndLimits(t *testing.T) {
	newBench(t).run(t, limits)
}

func long(n int) bin { return bin(strings.Repeat("x", n)) }

// nested is n arrays, one in the other.
func nested(n int) any {
	v := []any{}
	for range n - 1 {
		v = []any{v}
	}
	return v
}

// padded returns a map of that many bytes once it is encoded.
func padded(fields doc, size int) doc {
	with := doc{}
	for k, v := range fields {
		with[k] = v
	}
	with["pad"] = long(1 << 16) // so that its length takes as many bytes as it will
	with["pad"] = long(1<<16 + size - len(encode(with)))
	return with
}

// paddedValue is padded for sizes about 64 KiB, where a length takes fewer bytes.
func paddedValue(size int) (sent doc, read obj) {
	sent = doc{"node_id": bin("a"), "pad": long(1 << 15)}
	pad := long(1<<15 + size - len(encode(sent)))
	sent["pad"] = pad
	return sent, obj{"node_id": bin("a"), "pad": pad}
}

var (
	largest, largestRead = paddedValue(64 << 10)
	tooLarge, _          = paddedValue(64<<10 + 1)
)

var limits = []row{
	{name: "payload of 1 MiB", send: whole(tPing, padded(doc{"timestamp": 1}, 1<<20)), want: exactly(pong(int64(1)))},
	{name: "payload of 1 MiB and a byte", send: whole(tPing, padded(doc{"timestamp": 1}, 1<<20+1)), end: "reset 2"},
	{name: "depth 16", send: whole(tPing, doc{"timestamp": 1, "x": nested(15)}), want: exactly(pong(int64(1)))},
	{name: "depth 17", send: whole(tPing, doc{"timestamp": 1, "x": nested(16)}), end: "reset 3"},
	{name: "depth 16 in what is not answered", send: whole(tSWIMPing, doc{"x": nested(15)})},
	{name: "depth 17 in what is not answered", send: whole(tSWIMPing, doc{"x": nested(16)}), end: "reset 3"},

	{name: "key of 255 bytes", send: whole(tFindValue, doc{"key": long(255)}), want: exactly(noValue)},
	{name: "key of 256 bytes", send: whole(tFindValue, doc{"key": long(256)}), want: failed(tFindValueReply, "invalid_key")},
	{name: "target of 255 bytes", send: whole(tFindNode, doc{"target": long(255)}), want: exactly(noNodes)},
	{name: "target of 256 bytes", send: whole(tFindNode, doc{"target": long(256)}), want: failed(tFindNodeReply, "invalid_target")},
	{name: "STORE under a key of 256 bytes", send: whole(tStore, doc{"key": long(256), "value": aValue}), drops: 1},
	{name: "_dht.store under a key of 256 bytes", send: callStore(doc{"key": long(256), "value": aValue}),
		want: callFailed("invalid_args", "Invalid parameter: key: 256 bytes, limit 255")},
	{name: "value with a node_id of 255 bytes", send: keyed(tStore, doc{"value": doc{"node_id": long(255)}}), keeps: []any{obj{"node_id": long(255)}}},
	{name: "value with a node_id of 256 bytes", send: keyed(tStore, doc{"value": doc{"node_id": long(256)}}), drops: 1, keeps: nothing},
	{name: "value with an endpoint of 255 bytes", send: keyed(tStore, doc{"value": doc{"endpoint": long(255)}}), keeps: []any{obj{"endpoint": long(255)}}},
	{name: "value with an endpoint of 256 bytes", send: keyed(tStore, doc{"value": doc{"endpoint": long(256)}}), drops: 1, keeps: nothing},
	{name: "CONNECT with a node_id of 255 bytes", on: overALPN, send: connecting(doc{"node_id": long(255)}), want: welcomed},
	{name: "CONNECT with a node_id of 256 bytes", send: connecting(doc{"node_id": long(256)}), end: "closed", endALPN: "refused invalid_connect",
		want: turnedAway("invalid_connect", `connect: mistyped field "node_id": 256 bytes, limit 255`)},
	{name: "CONNECT with an endpoint of 256 bytes", send: connecting(doc{"endpoint": long(256)}), want: welcomed},
	{name: "CONNECT of a realm of 256 bytes", send: connecting(doc{"realm_id": long(256)}), end: "closed", endALPN: "refused realm_mismatch",
		want: turnedAway("realm_mismatch", `This node serves the realm "be.cortexiq.test", not ""`)},
	{name: "procedure of 255 bytes", send: whole(tCall, doc{"call_id": bin("0123456789abcdef"), "procedure": long(255)}),
		want: callFailed("gateway_bootstrap_only", "Gateway is bootstrap-only. Discover service via DHT and call peer directly")},
	{name: "procedure of 256 bytes", send: whole(tCall, doc{"call_id": bin("0123456789abcdef"), "procedure": long(256)}),
		want: callFailed("invalid_args", "Invalid parameter: procedure: 256 bytes, limit 255")},

	{name: "value of 64 KiB", send: keyed(tStore, doc{"value": largest}), keeps: []any{largestRead}},
	{name: "value of 64 KiB and a byte", send: keyed(tStore, doc{"value": tooLarge}), drops: 1, keeps: nothing},
	{name: "_dht.store of 64 KiB", send: callStore(doc{"value": largest}), want: exactly(storeOK), keeps: []any{largestRead}},
	{name: "_dht.store of 64 KiB and a byte", send: callStore(doc{"value": tooLarge}), drops: 1, keeps: nothing,
		want: callFailed("invalid_args", "Invalid parameter: value: value can not be stored: 65537 bytes, limit 65536")},

	{name: "251 providers from one source", keeps: providers(250, 125), send: func(c *cell) [][]byte {
		var b []byte
		for i := range 251 {
			ttl := 1000
			if i == 125 {
				ttl = 100 // the soonest to expire
			}
			b = append(b, frame(tStore, doc{"key": c.key, "value": doc{"node_id": nodeIDNo(i), "ttl": ttl}})...)
		}
		return [][]byte{b}
	}},
}

// providers are those from n down to 0, as the newest is in front, but for one.
func providers(n, without int) []any {
	var list []any
	for i := n; i >= 0; i-- {
		if i != without {
			list = append(list, obj{"node_id": nodeIDNo(i), "ttl": int64(1000)})
		}
	}
	return list
}

// TestTTL has the row of ttl: whole seconds, 1 to 86,400.
func TestTTL(t *testing.T) {
	b := newBench(t)
	tests := []struct {
		name string
		ttl  any
		life int64 // in seconds; 0 where the value is refused
	}{
		{"a second", 1, 1},
		{"five minutes", 300, 300},
		{"a day", 86_400, 86_400},
		{"more than a day", 86_401, 86_400},
		{"more than 63 bits", uint64(1 << 63), 86_400},
		{"none", nil, 86_400},
		{"zero", 0, 0},
		{"less", -1, 0},
		{"a fraction", 1.5, 0},
		{"whole, but a float", 60.0, 60},
		{"a text", bin("60"), 0},
		{"true", true, 0},
	}
	for _, test := range tests {
		for _, s := range b.sides {
			t.Run(test.name+"/"+s.name, func(t *testing.T) {
				value := doc{"node_id": bin("a")}
				if test.ttl != nil {
					value["ttl"] = test.ttl
				}
				open, done := s.connect(t)
				defer done()
				for by, send := range map[string]func(key bin) (taken bool){
					"STORE": func(key bin) bool {
						before := b.node.Service().Handlers().Stats().DroppedStores
						k := open()
						k.send(frame(tStore, doc{"key": key, "value": value}))
						k.requireAlive()
						return b.node.Service().Handlers().Stats().DroppedStores == before
					},
					"_dht.store": func(key bin) bool {
						reply := open().ask(tCall, doc{"call_id": bin("c"), "procedure": bin("_dht.store"), "args": doc{"key": key, "value": value}})
						if failure, failed := reply.Fields["error"].(map[string]any); failed {
							require.Equal(t, bin("invalid_args"), failure["code"])
							require.Contains(t, failure["message"], "value")
							require.Contains(t, failure["message"], "ttl")
							return false
						}
						return true
					},
				} {
					key := bin(t.Name() + by)
					require.Equal(t, test.life > 0, send(key), "taken by %s", by)
					if test.life < 2 { // it may be gone when it is looked for
						continue
					}
					left := b.other.ask(tFindValue, doc{"key": key}).Fields["expires_in"].([]any)
					require.Len(t, left, 1)
					assert.InDelta(t, test.life, left[0], 10, "seconds left")
					assert.LessOrEqual(t, left[0], test.life)
				}
			})
		}
	}
}

// TestNodesInAReply has the row of that name: 20, and of those none that only
// CONNECTed.
func TestNodesInAReply(t *testing.T) {
	b := newBench(t)
	for i := range 25 {
		k := talkRaw(t, dialRaw(t, b.udp))
		reply := k.ask(tConnect, doc{"node_id": bin(fmt.Sprintf("guest %d", i)), "realm_id": bin(testRealm), "endpoint": bin("")})
		require.Equal(t, byte(tPong), reply.Type)
	}
	known := map[any]any{} // endpoints by node id
	for i := range 25 {
		p, err := test.RandPeerID()
		require.NoError(t, err)
		id, addr := nodeIDOf(p), ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", 10_000+i))
		c := routing.Contact{ID: routing.IDFromBytes([]byte(id)), NodeID: []byte(id), Peer: p, Addrs: []ma.Multiaddr{addr},
			Endpoint: fmt.Sprintf("https://127.0.0.1:%d", 10_000+i), EndpointSeen: true, Verified: true, LastSeen: time.Now()}
		require.NoError(t, b.node.Service().Routing().Admit(c))
		known[id] = bin(c.Endpoint)
	}
	for _, s := range b.sides {
		t.Run(s.name, func(t *testing.T) {
			open, done := s.connect(t)
			defer done()
			nodes := open().ask(tFindNode, doc{"target": bin("t")}).Fields["nodes"]
			require.Len(t, nodes, 20)
			for _, n := range nodes.([]any) {
				fields := n.(map[string]any)
				b.us.time(fields, "last_seen")
				require.Equal(t, known[fields["node_id"]], fields["address"])
				require.Equal(t, theTime, fields["last_seen"])
				if s.extended {
					require.Len(t, fields["addrs"], 1)
					delete(fields, "addrs")
				}
				require.Len(t, fields, 3, "and nothing that Erlang nodes do not know")
			}
			missed := open().ask(tFindValue, doc{"key": bin("k")}).Fields["nodes"]
			if s.extended {
				require.Len(t, missed, 20, "a miss lists the nearest nodes")
			} else {
				require.Empty(t, missed, "an Erlang node crashes on nodes in a miss")
			}
		})
	}
}

// TestFindValueReplySize has the row of FIND_VALUE_REPLY: those with the longest
// life stay, and at least one.
func TestFindValueReplySize(t *testing.T) {
	b := newBench(t)
	tests := []struct {
		name, on string
		connect  bool
		values   int
		size     int // of each
		kept     int
		limit    int
	}{
		{"the first packet", overALPN, false, 10, 300, 3, 1100},
		{"one alone may be longer than a packet", overALPN, false, 2, 2000, 1, 2000 + 100},
		{"after CONNECT", overALPN, true, 6, 60_000, 4, 256 << 10},
		{"a few after CONNECT", overALPN, true, 10, 300, 10, 256 << 10},
		{"256 KiB", overLibP2P, false, 6, 60_000, 4, 256 << 10},
		{"a few", overLibP2P, false, 10, 300, 10, 256 << 10},
	}
	for _, test := range tests {
		t.Run(test.name+"/"+test.on, func(t *testing.T) {
			for _, s := range b.sides {
				if s.name != test.on {
					continue
				}
				key := bin(t.Name())
				open, done := s.connect(t)
				defer done()
				k := open()
				var all []any // newest first
				for i := range test.values {
					value := doc{"node_id": nodeIDNo(i), "ttl": 100 + i, "pad": bin("")}
					value["pad"] = long(test.size - len(encode(value)) - 2)
					k.send(frame(tStore, doc{"key": key, "value": value}))
					all = append([]any{obj{"node_id": value["node_id"], "ttl": int64(100 + i), "pad": value["pad"]}}, all...)
				}
				if test.connect {
					require.Equal(t, byte(tPong), k.ask(tConnect, doc{"node_id": bin("x"), "realm_id": bin(testRealm), "endpoint": bin("")}).Type)
				}
				k.requireAlive()
				before := b.node.Service().Handlers().Stats().LeftOut
				reply := k.ask(tFindValue, doc{"key": key})
				told := reply.Fields["value"].([]any)
				assert.Len(t, told, test.kept)
				assert.Equal(t, all[0], told[0], "the newest is always told of")
				assert.Subset(t, all, told)
				assert.LessOrEqual(t, k.size, test.limit, "bytes of the reply's frame")
				assert.Equal(t, test.values-test.kept, int(b.node.Service().Handlers().Stats().LeftOut-before), "providers left out, as counted")
			}
		})
	}
}
