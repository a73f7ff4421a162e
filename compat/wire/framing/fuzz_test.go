package framing_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/internal/wiretest"
)

// FuzzReader: however the bytes arrive, the reader gives the frames that
// DecodeFrame gives, and ends with the error that fits.
func FuzzReader(f *testing.F) {
	var all []byte
	for i, b := range wiretest.Vectors("..").Frames() {
		f.Add(b, uint16(i))
		all = append(all, b...)
	}
	f.Add(all, uint16(1))
	f.Add(bytes.Repeat(frame(wire.TypePublish, make([]byte, 5000)), 3), uint16(4000))
	f.Fuzz(func(t *testing.T, b []byte, split uint16) {
		var want []framing.Frame
		rest := b
		var ending error
		for ending == nil {
			fr, tail, err := framing.DecodeFrame(rest)
			if errors.Is(err, wire.ErrUnknownType) { // no matter for framing
				end := framing.HeaderSize + int(binary.BigEndian.Uint32(rest[4:]))
				fr, tail, err = framing.Frame{Type: wire.Type(rest[1]), Payload: rest[framing.HeaderSize:end]}, rest[end:], nil
			}
			switch {
			case err == nil:
				want, rest = append(want, fr), tail
			case len(rest) == 0:
				ending = io.EOF
			case rest[0] != framing.Version:
				ending = framing.ErrVersion
			case errors.Is(err, framing.ErrTooLarge):
				ending = framing.ErrTooLarge
			default:
				ending = framing.ErrTruncated
			}
		}
		src := bytes.NewReader(b)
		step := int(split) + 1
		l := &ledger{t: t}
		r := framing.NewReader(readFunc(func(p []byte) (int, error) { return src.Read(p[:min(len(p), step)]) }), framing.WithMemory(l))
		var got []framing.Frame
		var err error
		for {
			var fr framing.Frame
			ready := r.Ready()
			left := src.Len()
			if fr, err = r.Next(); err != nil {
				break
			}
			require.Equal(t, ready, left == src.Len(), "Ready")
			require.LessOrEqual(t, l.used, max(4<<10, 4*len(b)))
			got = append(got, framing.Frame{Type: fr.Type, Payload: bytes.Clone(fr.Payload)})
		}
		require.ErrorIs(t, err, ending)
		require.True(t, slices.EqualFunc(want, got, func(a, b framing.Frame) bool {
			return a.Type == b.Type && bytes.Equal(a.Payload, b.Payload)
		}))
		r.Close()
		require.Zero(t, l.used)
	})
}
