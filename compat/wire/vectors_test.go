package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

func TestRecordedFrames(t *testing.T) {
	for _, v := range vectors().Encode {
		t.Run(v.Name, func(t *testing.T) {
			b := unhex(t, v.FrameHex)
			f, rest, err := framing.DecodeFrame(b)
			require.NoError(t, err)
			require.Empty(t, rest)
			assert.Equal(t, wire.Type(v.TypeID), f.Type)
			assert.Equal(t, v.TypeName, f.Type.String())
			require.Equal(t, v.Decoded, mustRender(t, f.Payload), "the vector's rendering")
			require.NoError(t, f.Check())

			m, err := f.Decode()
			require.NoError(t, err)
			assert.Equal(t, f.Type, m.Type())

			again, err := framing.AppendFrame(nil, m)
			require.NoError(t, err)
			f2, rest, err := framing.DecodeFrame(again)
			require.NoError(t, err)
			require.Empty(t, rest)
			m2, err := f2.Decode()
			require.NoError(t, err)
			assert.Equal(t, m, m2, "decode, encode, decode")

			original := v.Decoded.(map[string]any)
			encoded := mustRender(t, f2.Payload).(map[string]any)
			for field, value := range original {
				if f.Type == wire.TypeFindValue && field == "type" {
					continue // optional there (docs/WIRE.md), and not sent by us
				}
				assert.Contains(t, encoded, field)
				assert.True(t, sameMeaning(value, encoded[field]), "%s: %v became %v", field, value, encoded[field])
			}
		})
	}
}

// All that a message struct knows must still be known when a peer writes str
// where Erlang writes bin.
func TestRecordedFramesWithStr(t *testing.T) {
	variants := map[string]struct{ keys, values bool }{
		"keys": {keys: true}, "values": {values: true}, "keys and values": {true, true},
	}
	for name, variant := range variants {
		for _, v := range vectors().Encode {
			t.Run(name+"/"+v.Name, func(t *testing.T) {
				f, _, err := framing.DecodeFrame(unhex(t, v.FrameHex))
				require.NoError(t, err)
				want, err := f.Decode()
				require.NoError(t, err)

				other := framing.Frame{Type: f.Type, Payload: asStr(t, f.Payload, variant.keys, variant.values)}
				got, err := other.Decode()
				require.NoError(t, err)
				assert.Equal(t, textsAsBin(t, want), textsAsBin(t, got))
			})
		}
	}
}

func TestRecordedDecoding(t *testing.T) {
	// Where the reference takes any value for a payload, and its gateway then
	// crashes on it, we want a map.
	notMaps := map[string]bool{"payload nil": true, "payload array": true, "payload bin": true}
	for _, v := range vectors().Decode {
		t.Run(v.Name, func(t *testing.T) {
			var want error
			switch {
			case notMaps[v.Name]:
				require.True(t, strings.HasPrefix(v.Outcome, "{ok,"), v.Outcome)
				want = wire.ErrNotMap
			case strings.HasPrefix(v.Outcome, "{ok,"):
			case v.Outcome == "{error,invalid_header}":
				want = framing.ErrShortHeader
			case strings.HasPrefix(v.Outcome, "{error,{unsupported_version,"):
				want = framing.ErrVersion
			case strings.HasPrefix(v.Outcome, "{error,{unknown_type,"):
				want = wire.ErrUnknownType
			case strings.HasPrefix(v.Outcome, "{error,{msgpack_decode_error,"):
				want = wire.ErrMsgpack
			default:
				t.Fatalf("an outcome without a rule: %s", v.Outcome)
			}
			f, _, err := framing.DecodeFrame(unhex(t, v.FrameHex))
			if err == nil {
				_, err = f.Decode()
			}
			if want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, want)
			}
		})
	}
}

// The order of the checks is the reference's: header, version, length, type,
// MessagePack.
func TestDecodeFrameOrder(t *testing.T) {
	tests := map[string]struct {
		in   string
		want error
	}{
		"nothing":                              {"", framing.ErrShortHeader},
		"short header of a bad version":        {"02", framing.ErrShortHeader},
		"bad version before too large":         {"0203000000200000", framing.ErrVersion},
		"too large before truncated":           {"0103000000100001", framing.ErrTooLarge},
		"the largest length there is":          {"01030000ffffffff", framing.ErrTooLarge},
		"truncated before unknown type":        {"01ee000000000001", framing.ErrTruncated},
		"payload of the maximum, but not here": {"0103000000100000", framing.ErrTruncated},
		"unknown type before MessagePack":      {"01ee000000000001c1", wire.ErrUnknownType},
		"type 0":                               {"010000000000000180", wire.ErrUnknownType},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := unhex(t, test.in)
			f, rest, err := framing.DecodeFrame(b)
			require.ErrorIs(t, err, test.want)
			assert.Zero(t, f)
			assert.Equal(t, b, rest, "nothing is taken")
		})
	}
}

// Of two frames that share memory, appending to one leaves the other alone.
func TestDecodeFrameIsFenced(t *testing.T) {
	ping := frame(wire.TypePing, raw(0x80))
	f, rest, err := framing.DecodeFrame(join(ping, ping))
	require.NoError(t, err)
	_ = append(f.Payload, 0xff)
	assert.Equal(t, ping, rest)
}

func TestRecordedExchanges(t *testing.T) {
	named := []error{
		framing.ErrShortHeader, framing.ErrVersion, wire.ErrUnknownType, framing.ErrTruncated,
		wire.ErrMsgpack, wire.ErrNotMap, wire.ErrMissingField, wire.ErrMistypedField,
	}
	decodeAll := func(t *testing.T, b []byte) (errs []error) {
		for len(b) > 0 {
			f, rest, err := framing.DecodeFrame(b)
			if err == nil {
				_, err = f.Decode()
			}
			if err != nil {
				errs = append(errs, err)
				assert.Condition(t, func() bool {
					for _, n := range named {
						if errors.Is(err, n) {
							return true
						}
					}
					return false
				}, "not a named error: %v", err)
			}
			if len(rest) == len(b) {
				return errs
			}
			b = rest
		}
		return errs
	}
	for _, v := range vectors().Exchanges {
		t.Run(v.Name, func(t *testing.T) {
			for _, sent := range v.Sent {
				if strings.Contains(sent, ".") {
					continue // the recording left out the middle of a long frame
				}
				decodeAll(t, unhex(t, sent))
			}
			assert.Empty(t, decodeAll(t, unhex(t, v.RecvHex)), "what the node sends is sound")
		})
	}
}

func TestGatewayListRecorded(t *testing.T) {
	found := false
	for _, v := range vectors().Encode {
		if v.Name != "reply" {
			continue
		}
		f, _, err := framing.DecodeFrame(unhex(t, v.FrameHex))
		require.NoError(t, err)
		m, err := f.Decode()
		require.NoError(t, err)
		var l procedures.GatewayList
		require.NoError(t, l.Decode(m.(*wire.Reply).Result))
		require.Len(t, l, 1)
		assert.Equal(t, "127.0.0.1", l[0].Host)
		assert.Equal(t, int64(9443), l[0].Port)
		assert.Equal(t, "be.cortexiq.test", l[0].Realm)
		assert.Len(t, l[0].NodeID, 64)
		assert.True(t, l[0].RegisteredAt.Set)
		assert.Equal(t, mustRender(t, m.(*wire.Reply).Result), mustRender(t, l.Raw()))
		found = true
	}
	assert.True(t, found)
}
