package framing_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

func tooLarge() wire.Message {
	return &wire.Publish{Topic: "t", Payload: make([]byte, wire.MaxPayload)}
}

// A frame that was read travels on as it came.
func TestFrameBytes(t *testing.T) {
	came := frame(wire.TypePing, fields("timestamp", num(1)))
	f, _, err := framing.DecodeFrame(came)
	require.NoError(t, err)
	b := f.Bytes()
	require.Equal(t, came, b)
	b[len(b)-1]++
	require.NotEqual(t, came, b, "in memory of its own")
}

func TestAppendFrame(t *testing.T) {
	t.Run("behind what is there", func(t *testing.T) {
		b, err := framing.AppendFrame([]byte("before"), &wire.Ping{Timestamp: wire.Some(int64(1))})
		require.NoError(t, err)
		assert.Equal(t, join([]byte("before"), frame(wire.TypePing, fields("timestamp", num(1)))), b)
	})
	t.Run("too large", func(t *testing.T) {
		b, err := framing.AppendFrame([]byte("before"), tooLarge())
		require.ErrorIs(t, err, framing.ErrTooLarge)
		assert.Equal(t, []byte("before"), b)
	})
	t.Run("exactly the limit", func(t *testing.T) {
		empty, err := framing.AppendFrame(nil, &wire.Publish{Topic: "t", Payload: make([]byte, 70_000)})
		require.NoError(t, err)
		room := framing.HeaderSize + wire.MaxPayload - len(empty) + 70_000
		b, err := framing.AppendFrame(nil, &wire.Publish{Topic: "t", Payload: make([]byte, room)})
		require.NoError(t, err)
		assert.Len(t, b, framing.HeaderSize+wire.MaxPayload)
		_, _, err = framing.DecodeFrame(b)
		require.NoError(t, err)
		_, err = framing.AppendFrame(nil, &wire.Publish{Topic: "t", Payload: make([]byte, room+1)})
		require.ErrorIs(t, err, framing.ErrTooLarge)
	})
}
