package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// writes keeps what each Write brought.
type writes struct {
	got [][]byte
	err error
}

func (w *writes) Write(p []byte) (int, error) {
	w.got = append(w.got, bytes.Clone(p))
	return len(p), w.err
}

func tooLarge() wire.Message {
	return &wire.Publish{Topic: "t", Payload: make([]byte, wire.MaxPayload)}
}

func TestWriterWritesWholeFramesAtOnce(t *testing.T) {
	var dst writes
	w := wire.NewWriter(&dst)
	require.NoError(t, w.Flush())
	assert.Empty(t, dst.got, "nothing to write, no Write")

	var want []byte
	for i := range 100 {
		m := &wire.Ping{Timestamp: wire.Some(int64(i))}
		require.NoError(t, w.Append(m))
		var err error
		want, err = wire.AppendFrame(want, m)
		require.NoError(t, err)
		assert.Equal(t, len(want), w.Buffered())
	}
	assert.Empty(t, dst.got, "not before Flush")
	require.NoError(t, w.Flush())
	assert.Equal(t, [][]byte{want}, dst.got)
	assert.Zero(t, w.Buffered())
	require.NoError(t, w.Flush())
	assert.Len(t, dst.got, 1)

	frames, _ := readAll(wire.NewReader(bytes.NewReader(want)))
	assert.Len(t, frames, 100)
}

func TestWriterTooLarge(t *testing.T) {
	var dst writes
	w := wire.NewWriter(&dst)
	require.NoError(t, w.Append(&wire.Ping{}))
	before := w.Buffered()
	require.ErrorIs(t, w.Append(tooLarge()), wire.ErrTooLarge)
	assert.Equal(t, before, w.Buffered())
	require.NoError(t, w.Append(&wire.Ping{}))
	require.NoError(t, w.Flush())
	ping := frame(wire.TypePing, raw(0x80))
	assert.Equal(t, [][]byte{join(ping, ping)}, dst.got)
}

func TestWriterError(t *testing.T) {
	broken := errors.New("broken")
	w := wire.NewWriter(&writes{err: broken})
	require.NoError(t, w.Append(&wire.Ping{}))
	assert.ErrorIs(t, w.Flush(), broken)
	assert.Zero(t, w.Buffered(), "a part may have left: it is not sent again")
}

func TestAppendFrame(t *testing.T) {
	t.Run("behind what is there", func(t *testing.T) {
		b, err := wire.AppendFrame([]byte("before"), &wire.Ping{Timestamp: wire.Some(int64(1))})
		require.NoError(t, err)
		assert.Equal(t, join([]byte("before"), frame(wire.TypePing, fields("timestamp", num(1)))), b)
	})
	t.Run("too large", func(t *testing.T) {
		b, err := wire.AppendFrame([]byte("before"), tooLarge())
		require.ErrorIs(t, err, wire.ErrTooLarge)
		assert.Equal(t, []byte("before"), b)
	})
	t.Run("exactly the limit", func(t *testing.T) {
		empty, err := wire.AppendFrame(nil, &wire.Publish{Topic: "t", Payload: make([]byte, 70_000)})
		require.NoError(t, err)
		room := wire.HeaderSize + wire.MaxPayload - len(empty) + 70_000
		b, err := wire.AppendFrame(nil, &wire.Publish{Topic: "t", Payload: make([]byte, room)})
		require.NoError(t, err)
		assert.Len(t, b, wire.HeaderSize+wire.MaxPayload)
		_, _, err = wire.DecodeFrame(b)
		require.NoError(t, err)
		_, err = wire.AppendFrame(nil, &wire.Publish{Topic: "t", Payload: make([]byte, room+1)})
		require.ErrorIs(t, err, wire.ErrTooLarge)
	})
}

// One message that is too large must not leave its megabyte with a quiet stream.
func TestWriterKeepsNoLargeBuffer(t *testing.T) {
	w := wire.NewWriter(&writes{})
	big := tooLarge()
	require.ErrorIs(t, w.Append(big), wire.ErrTooLarge)
	require.NoError(t, w.Append(&wire.Ping{}))
	require.NoError(t, w.Flush())
	assert.LessOrEqual(t, wire.WriterCap(w), 64<<10)

	require.ErrorIs(t, w.Append(big), wire.ErrTooLarge)
	assert.LessOrEqual(t, wire.WriterCap(w), 64<<10, "also while nothing is to be flushed")

	require.NoError(t, w.Append(&wire.Publish{Topic: "t", Payload: make([]byte, 100_000)}))
	require.NoError(t, w.Flush())
	assert.LessOrEqual(t, wire.WriterCap(w), 64<<10, "nor what was sent")
}
