package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// recordedFrames returns every whole frame of the vectors.
func recordedFrames() (frames [][]byte) {
	add := func(digits string) {
		if b, err := hex.DecodeString(digits); err == nil { // a few are cut short
			frames = append(frames, b)
		}
	}
	for _, v := range vectors().Encode {
		add(v.FrameHex)
	}
	for _, v := range vectors().Decode {
		add(v.FrameHex)
	}
	for _, v := range vectors().Exchanges {
		for _, sent := range v.Sent {
			add(sent)
		}
	}
	return frames
}

// FuzzReader: however the bytes arrive, the reader gives the frames that
// DecodeFrame gives, and ends with the error that fits.
func FuzzReader(f *testing.F) {
	var all []byte
	for i, b := range recordedFrames() {
		f.Add(b, uint16(i))
		all = append(all, b...)
	}
	f.Add(all, uint16(1))
	f.Add(bytes.Repeat(frame(wire.TypePublish, make([]byte, 5000)), 3), uint16(4000))
	f.Fuzz(func(t *testing.T, b []byte, split uint16) {
		var want []wire.Frame
		rest := b
		var ending error
		for ending == nil {
			fr, tail, err := wire.DecodeFrame(rest)
			if errors.Is(err, wire.ErrUnknownType) { // no matter for framing
				end := wire.HeaderSize + int(binary.BigEndian.Uint32(rest[4:]))
				fr, tail, err = wire.Frame{Type: wire.Type(rest[1]), Payload: rest[wire.HeaderSize:end]}, rest[end:], nil
			}
			switch {
			case err == nil:
				want, rest = append(want, fr), tail
			case len(rest) == 0:
				ending = io.EOF
			case rest[0] != wire.Version:
				ending = wire.ErrVersion
			case errors.Is(err, wire.ErrTooLarge):
				ending = wire.ErrTooLarge
			default:
				ending = wire.ErrTruncated
			}
		}
		src := bytes.NewReader(b)
		step := int(split) + 1
		l := &ledger{t: t}
		r := wire.NewReader(readFunc(func(p []byte) (int, error) { return src.Read(p[:min(len(p), step)]) }), wire.WithMemory(l))
		var got []wire.Frame
		var err error
		for {
			var fr wire.Frame
			ready := r.Ready()
			left := src.Len()
			if fr, err = r.Next(); err != nil {
				break
			}
			require.Equal(t, ready, left == src.Len(), "Ready")
			require.LessOrEqual(t, l.used, max(4<<10, 4*len(b)))
			got = append(got, wire.Frame{Type: fr.Type, Payload: bytes.Clone(fr.Payload)})
		}
		require.ErrorIs(t, err, ending)
		require.True(t, slices.EqualFunc(want, got, func(a, b wire.Frame) bool {
			return a.Type == b.Type && bytes.Equal(a.Payload, b.Payload)
		}))
		r.Close()
		require.Zero(t, l.used)
	})
}

// FuzzMessages: no payload makes a decoder panic, and a message that was decoded
// says the same after it was encoded.
func FuzzMessages(f *testing.F) {
	for _, b := range recordedFrames() {
		if fr, _, err := wire.DecodeFrame(b); err == nil {
			f.Add(byte(fr.Type), fr.Payload)
		}
	}
	for _, typ := range typed() {
		f.Add(byte(typ), []byte(payloadWith(typ, "", nil)))
	}
	f.Fuzz(func(t *testing.T, typ byte, payload []byte) {
		fr := wire.Frame{Type: wire.Type(typ), Payload: payload}
		checked := fr.Check()
		before := bytes.Clone(payload)
		m, err := fr.Decode()
		require.Equal(t, before, payload)
		var fe *wire.FieldError
		switch {
		case errors.As(err, &fe):
			require.NotNil(t, m)
			require.Contains(t, []error{wire.ErrMissingField, wire.ErrMistypedField}, fe.Err)
		case err != nil:
			require.Nil(t, m)
			require.Condition(t, func() bool {
				return errors.Is(err, wire.ErrUnknownType) || errors.Is(err, wire.ErrMsgpack) || errors.Is(err, wire.ErrNotMap)
			}, err)
		}
		if checked == nil && fr.Type.Known() {
			require.NotNil(t, m, "sound MessagePack gives a message: %v", err)
		}
		if err != nil {
			return
		}
		exclusive(m)
		again, err := (wire.Frame{Type: fr.Type, Payload: m.AppendPayload(nil)}).Decode()
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

// exclusive drops what a contradictory message says besides its error or hit:
// encoding keeps one.
func exclusive(m wire.Message) {
	switch m := m.(type) {
	case *wire.Reply:
		if m.Error != nil {
			m.Result = nil
		}
	case *wire.FindNodeReply:
		if m.Reason != "" {
			m.Nodes = nil
		}
	case *wire.FindValueReply:
		if m.Reason != "" {
			m.Values, m.ExpiresIn, m.Proofs, m.Tombstones, m.Nodes = nil, nil, nil, nil, nil
		} else if len(m.Values) > 0 {
			m.Nodes = nil
		}
	case *wire.Pong:
		if m.NodeID == nil {
			m.Endpoint = ""
		}
	}
}

// FuzzValue: a value that may be stored still may after its texts were rewritten,
// unless it became too long, and can be shown.
func FuzzValue(f *testing.F) {
	for _, b := range recordedFrames() {
		if fr, _, err := wire.DecodeFrame(b); err == nil {
			f.Add(fr.Payload)
			if m, err := fr.Decode(); err == nil {
				if s, ok := m.(*wire.Store); ok {
					f.Add([]byte(s.Value))
				}
			}
		}
	}
	f.Add([]byte(asMap(str("ttl"), num(5), str("a"), list(str(""), str("é")))))
	f.Add([]byte(asMap(asMap(bin(`"`), nilValue), nilValue)))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := wire.ParseValue(b)
		rewritten, rewriteErr := wire.TextsAsBin(b)
		if err != nil {
			require.ErrorIs(t, err, wire.ErrBadValue)
			return
		}
		require.NoError(t, rewriteErr)
		require.GreaterOrEqual(t, v.TTL.Seconds(), 1.0)
		require.LessOrEqual(t, v.TTL, wire.MaxTTL)
		require.Equal(t, b, []byte(v.Raw))

		again, err := wire.TextsAsBin(rewritten)
		require.NoError(t, err)
		require.Same(t, &rewritten[0], &again[0], "no str is left")
		after, err := wire.ParseValue(rewritten)
		if len(rewritten) > wire.MaxValue {
			require.ErrorIs(t, err, wire.ErrBadValue)
		} else {
			require.NoError(t, err)
			require.Equal(t, v.NodeID, after.NodeID)
			require.Equal(t, v.TTL, after.TTL)
		}

		text, err := wire.Raw(b).MarshalJSON()
		require.NoError(t, err)
		require.True(t, json.Valid(text))
		require.LessOrEqual(t, len(text), 100+20*len(b), "it does not explode")
		if !bytes.Contains(b, []byte("$bin")) {
			readBack, err := wire.FromJSON(text)
			require.NoError(t, err, "%s", text)
			same, err := readBack.MarshalJSON()
			require.NoError(t, err)
			require.Equal(t, string(text), string(same))
		}
	})
}
