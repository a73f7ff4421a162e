package framing_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// chunks is a source that gives one element a Read: bytes, or an error, or with
// neither an empty read.
type chunks []chunk

type chunk struct {
	data []byte
	err  error
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(*c) == 0 {
		return 0, io.EOF
	}
	next := &(*c)[0]
	n := copy(p, next.data)
	next.data = next.data[n:]
	if len(next.data) > 0 {
		return n, nil
	}
	err := next.err
	*c = (*c)[1:]
	return n, err
}

// readAll returns the frames, cloned, and the error that ended them.
func readAll(r *framing.Reader) (frames []framing.Frame, err error) {
	for {
		f, err := r.Next()
		if err != nil {
			return frames, err
		}
		frames = append(frames, framing.Frame{Type: f.Type, Payload: bytes.Clone(f.Payload)})
	}
}

// stream is three frames, one of an unknown type and one with no payload.
func stream() (b []byte, frames []framing.Frame) {
	frames = []framing.Frame{
		{Type: wire.TypePing, Payload: fields("timestamp", num(7))},
		{Type: 0xee, Payload: []byte{}},
		{Type: wire.TypeStore, Payload: fields("key", bin("k"), "value", fields("n", num(1)))},
	}
	for _, f := range frames {
		b = append(b, frame(f.Type, f.Payload)...)
	}
	return b, frames
}

func TestReaderSplits(t *testing.T) {
	b, want := stream()
	check := func(t *testing.T, src io.Reader) {
		t.Helper()
		got, err := readAll(framing.NewReader(src))
		require.Equal(t, io.EOF, err)
		require.Equal(t, want, got)
	}
	t.Run("one read", func(t *testing.T) { check(t, bytes.NewReader(b)) })
	t.Run("a byte a read", func(t *testing.T) { check(t, iotest.OneByteReader(bytes.NewReader(b))) })
	t.Run("half of what is asked", func(t *testing.T) { check(t, iotest.HalfReader(bytes.NewReader(b))) })
	t.Run("the end with the last bytes", func(t *testing.T) { check(t, iotest.DataErrReader(bytes.NewReader(b))) })
	t.Run("every split", func(t *testing.T) {
		for at := range len(b) + 1 {
			check(t, &chunks{{data: b[:at]}, {data: b[at:]}})
		}
	})
	t.Run("flags and reserved are ignored", func(t *testing.T) {
		odd := bytes.Clone(b)
		odd[2], odd[3] = 0xff, 0xff
		check(t, bytes.NewReader(odd))
	})
}

func TestReaderManyFramesInOneRead(t *testing.T) {
	one := frame(wire.TypePing, fields("timestamp", num(7)))
	const n = 1000
	src := bytes.NewReader(bytes.Repeat(one, n))
	frames, err := readAll(framing.NewReader(src))
	require.Equal(t, io.EOF, err)
	assert.Len(t, frames, n)
}

func TestReaderEnds(t *testing.T) {
	b, _ := stream()
	first := len(frame(wire.TypePing, fields("timestamp", num(7))))
	tests := map[string]struct {
		in     []byte
		frames int
		want   error
	}{
		"nothing":                  {nil, 0, io.EOF},
		"between frames":           {b[:first], 1, io.EOF},
		"within the header":        {b[:first+3], 1, framing.ErrTruncated},
		"after the header":         {b[:framing.HeaderSize], 0, framing.ErrTruncated},
		"within the payload":       {b[:first-1], 0, framing.ErrTruncated},
		"version, first byte":      {[]byte{2}, 0, framing.ErrVersion},
		"version, second frame":    {append(bytes.Clone(b[:first]), 0), 1, framing.ErrVersion},
		"a byte too many":          {[]byte{1, 3, 0, 0, 0, 0x10, 0, 1}, 0, framing.ErrTooLarge},
		"the largest length":       {[]byte{1, 3, 0, 0, 0xff, 0xff, 0xff, 0xff}, 0, framing.ErrTooLarge},
		"1 MiB claimed, none here": {[]byte{1, 3, 0, 0, 0, 0x10, 0, 0}, 0, framing.ErrTruncated},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := framing.NewReader(bytes.NewReader(test.in))
			frames, err := readAll(r)
			require.ErrorIs(t, err, test.want)
			assert.Len(t, frames, test.frames)
			if test.want != io.EOF {
				assert.NotErrorIs(t, err, io.EOF, "a torn stream is no end")
			}
			_, again := r.Next()
			assert.ErrorIs(t, again, test.want, "and stays so")
		})
	}
}

// The first byte is enough to refuse a peer of another protocol.
func TestReaderVersionOnTheFirstByte(t *testing.T) {
	src := chunks{{data: []byte("G")}, {err: errors.New("read too far")}}
	r := framing.NewReader(&src)
	_, err := r.Next()
	require.ErrorIs(t, err, framing.ErrVersion)
	assert.True(t, r.Ready(), "the error is there without reading")
	assert.Len(t, src, 1)

	src[0] = chunk{data: []byte{1, 3, 0, 0, 0, 0, 0, 0}}
	_, err = r.Next()
	assert.ErrorIs(t, err, framing.ErrVersion, "it is final")
}

func TestReaderLargestFrame(t *testing.T) {
	payload := fields("key", wire.Raw(join(raw(0xc6, 0, 0x0f, 0xff, 0xf5), make([]byte, wire.MaxPayload-11))))
	payload = payload[:wire.MaxPayload]
	b := join(frame(wire.TypeStore, payload), frame(wire.TypePing, raw(0x80)))
	frames, err := readAll(framing.NewReader(iotest.HalfReader(bytes.NewReader(b))))
	require.Equal(t, io.EOF, err)
	require.Len(t, frames, 2)
	assert.True(t, bytes.Equal(payload, frames[0].Payload))
	assert.Equal(t, wire.TypePing, frames[1].Type)
}

func TestReaderResumesAfterTimeout(t *testing.T) {
	b, want := stream()
	for at := range len(b) {
		src := chunks{{data: b[:at], err: os.ErrDeadlineExceeded}, {err: os.ErrDeadlineExceeded}, {data: b[at:]}}
		r := framing.NewReader(&src)
		var got []framing.Frame
		timeouts := 0
		for {
			frames, err := readAll(r)
			got = append(got, frames...)
			if err == io.EOF {
				break
			}
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			timeouts++
		}
		require.Equal(t, want, got, "split at %d", at)
		require.Positive(t, timeouts)
	}
}

// An empty read means that nothing happened (io.Reader); only a source that
// never brings anything is at fault.
func TestReaderEmptyReads(t *testing.T) {
	b, want := stream()
	got, err := readAll(framing.NewReader(&chunks{{}, {data: b[:5]}, {}, {}, {data: b[5:]}, {}}))
	require.Equal(t, io.EOF, err)
	assert.Equal(t, want, got)

	_, err = framing.NewReader(readFunc(func([]byte) (int, error) { return 0, nil })).Next()
	assert.Equal(t, io.ErrNoProgress, err)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestReaderBeforeRead(t *testing.T) {
	b, _ := stream()
	ping := frame(wire.TypePing, fields("timestamp", num(7)))
	var calls []bool
	src := chunks{
		{data: ping},              // a whole frame
		{data: b[:4]},             // the start of a header
		{data: b[4:9]},            // more of it
		{data: ping[9:]},          // its end
		{data: join(ping, b[:1])}, // a frame and the first byte of the next
	}
	r := framing.NewReader(&src, framing.BeforeRead(func(midFrame bool) { calls = append(calls, midFrame) }))
	for range 3 {
		_, err := r.Next()
		require.NoError(t, err)
	}
	assert.Equal(t, []bool{false, false, true, true, false}, calls)
	_, err := r.Next()
	require.ErrorIs(t, err, framing.ErrTruncated)
	assert.Equal(t, []bool{false, false, true, true, false, true}, calls)
}

func TestReaderReady(t *testing.T) {
	ping := frame(wire.TypePing, fields("timestamp", num(7)))
	r := framing.NewReader(&chunks{{data: join(ping, ping, ping[:len(ping)-1])}, {data: ping[len(ping)-1:]}, {data: []byte{9}}})
	assert.False(t, r.Ready(), "nothing is read yet")
	ready := []bool{true, false, false}
	for i, want := range ready {
		_, err := r.Next()
		require.NoError(t, err)
		assert.Equal(t, want, r.Ready(), "after frame %d", i+1)
	}
	_, err := r.Next()
	require.ErrorIs(t, err, framing.ErrVersion)
	assert.True(t, r.Ready(), "a final error needs no read")
}

// A frame stays as it is while the next ones are not asked for, and appending
// to its payload does not write into them.
func TestReaderPayloadIsFenced(t *testing.T) {
	b, want := stream()
	r := framing.NewReader(bytes.NewReader(b))
	f, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, want[0], f)
	_ = append(f.Payload, 0xff)
	rest, err := readAll(r)
	require.Equal(t, io.EOF, err)
	assert.Equal(t, want[1:], rest)
}
