package framing_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// findValue is a frame of the kind that makes up nearly all of the traffic.
func findValue() []byte {
	return frame(wire.TypeFindValue, (&wire.FindValue{Key: bytes.Repeat([]byte{7}, 32)}).AppendPayload(nil))
}

// A quiet stream of small frames lives in its first buffer.
func TestReaderAllocatesNothing(t *testing.T) {
	one := findValue()
	r := framing.NewReader(&endless{data: bytes.Repeat(one, 100)})
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

func BenchmarkReader(b *testing.B) {
	one := findValue()
	r := framing.NewReader(&endless{data: bytes.Repeat(one, 100)})
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
