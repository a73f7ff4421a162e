package wire_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// findValue is the payload that makes up nearly all of the traffic.
func findValue() []byte {
	return (&wire.FindValue{Key: bytes.Repeat([]byte{7}, 32)}).AppendPayload(nil)
}

// findValueHit is its usual answer, about 200 bytes.
func findValueHit() *wire.FindValueReply {
	return &wire.FindValueReply{
		Values: []wire.Raw{fields(
			"node_id", bin(string(bytes.Repeat([]byte{0xa7}, 32))), "endpoint", bin("https://127.0.0.1:9443"),
			"ttl", num(300), "metadata", fields("version", bin("1.0")))},
		ExpiresIn: []int64{290},
	}
}

func TestDecodeFindValueAllocatesNothing(t *testing.T) {
	payload := findValue()
	withType := fields("type", bin("find_value"), "key", bin("k"))
	var m wire.FindValue
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if m.Decode(payload) != nil || m.Decode(withType) != nil {
			t.Error("not decoded")
		}
	}))
}

func TestEncodeFindValueReplyAllocatesNothing(t *testing.T) {
	m := findValueHit()
	buf, err := framing.AppendFrame(nil, m)
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		buf, _ = framing.AppendFrame(buf[:0], m)
	}))
}

// usual are messages as they travel, with what it costs to read one: the texts
// are copied, and lists are made.
var usual = []struct {
	m      wire.Message
	allocs float64
}{
	{&wire.Ping{Timestamp: wire.Some[int64](1_700_000_000_123)}, 0},
	{&wire.Pong{Timestamp: wire.Some[int64](1_700_000_000_123), ServerTime: wire.Some[int64](1_700_000_000_456)}, 0},
	{&wire.FindNode{Target: bytes.Repeat([]byte{7}, 32)}, 0},
	{&wire.FindNodeReply{Nodes: []wire.Node{{ID: bytes.Repeat([]byte{7}, 32), LastSeen: 1_700_000_000_123}}}, 1},
	{&wire.Store{Key: bytes.Repeat([]byte{7}, 32), Value: findValueHit().Values[0]}, 0},
	{&wire.Call{
		Procedure: wire.ProcedureStore, CallID: make([]byte, 16),
		Args: (&procedures.StoreArgs{Key: bytes.Repeat([]byte{7}, 32), Value: findValueHit().Values[0], ExpiresIn: wire.Some[int64](290)}).Raw(),
	}, 1},
	{&wire.Reply{CallID: make([]byte, 16), Result: fields("status", bin("ok"))}, 0},
	{&wire.Connect{
		Version: "1.0", NodeID: bytes.Repeat([]byte{7}, 32), RealmID: "org.example", Endpoint: "https://192.0.2.7:9443",
		Capabilities: []string{"pubsub", "rpc"}, Addrs: [][]byte{bytes.Repeat([]byte{4}, 20)},
	}, 8},
}

func TestUsualMessagesAllocateNoMoreThanTheirTexts(t *testing.T) {
	for _, u := range usual {
		t.Run(u.m.Type().String(), func(t *testing.T) {
			buf, err := framing.AppendFrame(nil, u.m)
			require.NoError(t, err)
			assert.Zero(t, testing.AllocsPerRun(1000, func() {
				buf, _ = framing.AppendFrame(buf[:0], u.m)
			}), "encode")
			into, err := framing.Frame{Type: u.m.Type(), Payload: buf[framing.HeaderSize:]}.Decode()
			require.NoError(t, err)
			require.Equal(t, u.m, into)
			m := into.(interface{ Decode([]byte) error })
			assert.Equal(t, u.allocs, testing.AllocsPerRun(1000, func() {
				if m.Decode(buf[framing.HeaderSize:]) != nil {
					t.Error("not decoded")
				}
			}), "decode")
		})
	}
}

// What is on the stack stays there.
func TestMessagesDoNotEscape(t *testing.T) {
	ping, store, call, buf := usual[0].m.AppendPayload(nil), usual[4].m.AppendPayload(nil), usual[5].m.AppendPayload(nil), make([]byte, 1024)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		var m wire.Ping
		if m.Decode(ping) != nil || len(m.AppendPayload(buf[:0])) != len(ping) {
			t.Error("ping")
		}
	}))
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		var m wire.Store
		if m.Decode(store) != nil || len(m.AppendPayload(buf[:0])) != len(store) {
			t.Error("store")
		}
	}))
	assert.Equal(t, 1.0, testing.AllocsPerRun(1000, func() {
		var m wire.Call
		var args procedures.StoreArgs
		if m.Decode(call) != nil || len(m.AppendPayload(buf[:0])) != len(call) || args.Decode(m.Args) != nil {
			t.Error("call")
		}
	}), "the procedure's name")
}

func BenchmarkDecodeFindValue(b *testing.B) {
	payload := findValue()
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	var m wire.FindValue
	for b.Loop() {
		if err := m.Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeFindValueReply(b *testing.B) {
	payload := findValueHit().AppendPayload(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	var m wire.FindValueReply
	for b.Loop() {
		if err := m.Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeFindValueReply(b *testing.B) {
	m := findValueHit()
	buf, err := framing.AppendFrame(nil, m)
	require.NoError(b, err)
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if buf, err = framing.AppendFrame(buf[:0], m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, u := range usual {
		b.Run(u.m.Type().String(), func(b *testing.B) {
			buf, err := framing.AppendFrame(nil, u.m)
			require.NoError(b, err)
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if buf, err = framing.AppendFrame(buf[:0], u.m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, u := range usual {
		b.Run(u.m.Type().String(), func(b *testing.B) {
			f := framing.Frame{Type: u.m.Type(), Payload: u.m.AppendPayload(nil)}
			into, err := f.Decode()
			require.NoError(b, err)
			m := into.(interface{ Decode([]byte) error })
			b.ReportAllocs()
			b.SetBytes(int64(len(f.Payload)))
			for b.Loop() {
				if err := m.Decode(f.Payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
