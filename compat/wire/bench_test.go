package wire_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
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
	buf, err := wire.AppendFrame(nil, m)
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		buf, _ = wire.AppendFrame(buf[:0], m)
	}))
}

// A quiet stream of small frames lives in its first buffer.
func TestReaderAllocatesNothing(t *testing.T) {
	one := frame(wire.TypeFindValue, findValue())
	r := wire.NewReader(&endless{data: bytes.Repeat(one, 100)})
	_, err := r.Next()
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(); err != nil {
			t.Error(err)
		}
	}))
}

// endless repeats data for ever.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}

var _ io.Reader = (*endless)(nil)

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
	buf, err := wire.AppendFrame(nil, m)
	require.NoError(b, err)
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if buf, err = wire.AppendFrame(buf[:0], m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	one := frame(wire.TypeFindValue, findValue())
	r := wire.NewReader(&endless{data: bytes.Repeat(one, 100)})
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseValue(b *testing.B) {
	v := findValueHit().Values[0]
	b.ReportAllocs()
	b.SetBytes(int64(len(v)))
	for b.Loop() {
		if _, err := wire.ParseValue(v); err != nil {
			b.Fatal(err)
		}
	}
}
