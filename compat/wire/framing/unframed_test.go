package framing_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// aRelayRequest is the map without a header that Erlang clients send.
func aRelayRequest(to string) []byte {
	return wire.RawMap(wire.Pair{Key: "type", Value: wire.RawText("relay_request")}, wire.Pair{Key: "target_node_id", Value: wire.RawText(to)})
}

// A relay_request is taken as the first of a stream, and nothing else is without a
// header.
func TestRelayRequest(t *testing.T) {
	frames, want := stream()
	request := aRelayRequest(strings.Repeat("b", 64))
	for name, test := range map[string]struct {
		bytes []byte
		want  []framing.Frame
		err   error
	}{
		"alone":              {request, []framing.Frame{{Payload: request}}, io.EOF},
		"with frames behind": {append(bytes.Clone(request), frames...), append([]framing.Frame{{Payload: request}}, want...), io.EOF},
		"behind frames":      {append(bytes.Clone(frames), request...), want, framing.ErrVersion},
		"twice":              {append(bytes.Clone(request), request...), []framing.Frame{{Payload: request}}, framing.ErrVersion},
		"half of it":         {request[:40], nil, framing.ErrTruncated},
		"too long":           {aRelayRequest(strings.Repeat("b", 2000)), nil, framing.ErrVersion},
		"another map":        {wire.RawMap(wire.Pair{Key: "type", Value: wire.RawText("relay_data")}), nil, framing.ErrVersion},
		"an empty map":       {wire.RawMap(), nil, framing.ErrVersion},
		"no map":             {append([]byte{0x92}, request[1:]...), nil, framing.ErrVersion},
	} {
		t.Run(name, func(t *testing.T) {
			for way, from := range map[string]func(io.Reader) io.Reader{
				"at once":      func(r io.Reader) io.Reader { return r },
				"byte by byte": iotest.OneByteReader,
			} {
				got, err := readAll(framing.NewReader(from(bytes.NewReader(test.bytes)), framing.WithRelayRequest()))
				require.Equal(t, test.want, got, way)
				require.ErrorIs(t, err, test.err, way)
			}
			got, err := readAll(framing.NewReader(bytes.NewReader(request)))
			require.Empty(t, got)
			require.ErrorIs(t, err, framing.ErrVersion, "unless it is asked for")
		})
	}
}

// FuzzRelayRequest: however the bytes are cut, the same comes of them.
func FuzzRelayRequest(f *testing.F) {
	frames, _ := stream()
	request := aRelayRequest("b")
	f.Add(request, uint8(1))
	f.Add(append(bytes.Clone(request), frames...), uint8(3))
	f.Add(append(bytes.Clone(request[:30]), frames...), uint8(7))
	f.Add(frames, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, split uint8) {
		whole, err := readAll(framing.NewReader(bytes.NewReader(b), framing.WithRelayRequest()))
		src := bytes.NewReader(b)
		parts, partsErr := readAll(framing.NewReader(readFunc(func(p []byte) (int, error) {
			return src.Read(p[:min(len(p), int(split)+1)])
		}), framing.WithRelayRequest()))
		require.Equal(t, whole, parts)
		for _, kind := range []error{io.EOF, framing.ErrVersion, framing.ErrTooLarge, framing.ErrTruncated} {
			require.Equal(t, errors.Is(err, kind), errors.Is(partsErr, kind))
		}
	})
}
