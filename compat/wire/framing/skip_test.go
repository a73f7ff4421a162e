package framing_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// limited is a memory with room for so much.
type limited struct{ left int }

func (m *limited) ReserveMemory(n int, _ uint8) error {
	if n > m.left {
		return errors.New("full")
	}
	m.left -= n
	return nil
}

func (m *limited) ReleaseMemory(n int) { m.left += n }

// stalled brings what is before the end of a part, then a time-out, then the rest.
type stalled struct{ parts [][]byte }

func (s *stalled) Read(b []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	if len(s.parts[0]) == 0 {
		s.parts = s.parts[1:]
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b, s.parts[0])
	s.parts[0] = s.parts[0][n:]
	if len(s.parts) == 1 && len(s.parts[0]) == 0 {
		s.parts = nil
	}
	return n, nil
}

func TestSkip(t *testing.T) {
	ping, err := framing.AppendFrame(nil, &wire.Ping{Timestamp: wire.Some[int64](7)})
	require.NoError(t, err)
	frame := func(size int) []byte {
		return append([]byte{framing.Version, byte(wire.TypePublish), 0, 0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, make([]byte, size)...)
	}
	behind := func(b []byte) []byte { return append(bytes.Clone(b), ping...) }
	for name, test := range map[string]struct {
		src   io.Reader
		room  int
		fails error
	}{
		"too large":                  {bytes.NewReader(behind(frame(wire.MaxPayload + 1))), 1 << 30, framing.ErrTooLarge},
		"too large, byte by byte":    {iotest.OneByteReader(bytes.NewReader(behind(frame(wire.MaxPayload + 1)))), 1 << 30, framing.ErrTooLarge},
		"no memory":                  {bytes.NewReader(behind(frame(100_000))), 10_000, framing.ErrNoMemory},
		"late":                       {&stalled{[][]byte{frame(5000)[:4999], behind(frame(5000)[4999:])}}, 1 << 30, os.ErrDeadlineExceeded},
		"late with all but its head": {&stalled{[][]byte{frame(10)[:8], behind(frame(10)[8:])}}, 1 << 30, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			memory := &limited{test.room}
			r := framing.NewReader(test.src, framing.WithMemory(memory))
			_, err := r.Next()
			require.ErrorIs(t, err, test.fails)
			require.True(t, r.Skip())
			f, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, ping[framing.HeaderSize:], f.Payload)
			_, err = r.Next()
			require.ErrorIs(t, err, io.EOF)
			r.Close()
			require.False(t, r.Skip())
			require.Equal(t, test.room, memory.left)
		})
	}

	r := framing.NewReader(&stalled{[][]byte{ping[:5], ping[5:]}})
	_, err = r.Next()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.True(t, r.Skip(), "of which it is not known yet how long it is")
	f, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, ping[framing.HeaderSize:], f.Payload)

	r = framing.NewReader(bytes.NewReader([]byte{0x82, 1}))
	_, err = r.Next()
	require.ErrorIs(t, err, framing.ErrVersion)
	require.False(t, r.Skip(), "nobody knows where the next frame begins")

	r = framing.NewReader(bytes.NewReader(frame(wire.MaxPayload + 1)[:100]))
	_, err = r.Next()
	require.ErrorIs(t, err, framing.ErrTooLarge)
	require.True(t, r.Skip())
	_, err = r.Next()
	require.ErrorIs(t, err, framing.ErrTruncated)
}
