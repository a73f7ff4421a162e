package wire_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// Damage is ErrMsgpack in every message, and there is no message then.
func TestDamage(t *testing.T) {
	good := fields("zz", num(1))
	tests := map[string][]byte{
		"nothing":                        {},
		"no value":                       {0xc1},
		"map without its fields":         {0x82, 0x01},
		"map32 of 4 billion":             {0xdf, 0xff, 0xff, 0xff, 0xff, 0x01, 0x01},
		"map16 cut in its size":          {0xde, 0x00},
		"key without value":              join(raw(0x81), bin("zz")),
		"bin longer than the payload":    join(raw(0x81), bin("zz"), raw(0xc6, 0xff, 0xff, 0xff, 0xff)),
		"bin cut in its size":            join(raw(0x81), bin("zz"), raw(0xc5, 0x00)),
		"array32 of 4 billion":           join(raw(0x81), bin("zz"), raw(0xdd, 0xff, 0xff, 0xff, 0xff)),
		"a byte after it":                join(good, raw(0x01)),
		"a second map after it":          join(good, good),
		"ext as value":                   fields("zz", anExt),
		"timestamp ext":                  fields("zz", raw(0xd6, 0xff, 0, 0, 0, 1)),
		"ext8":                           fields("zz", raw(0xc7, 0x01, 0x05, 0x00)),
		"ext within a list":              fields("zz", list(anExt)),
		"ext as key":                     join(raw(0x81), anExt, num(1)),
		"str that is not UTF-8":          fields("zz", badText),
		"str with a surrogate":           fields("zz", raw(0xa3, 0xed, 0xa0, 0x80)),
		"str with an overlong form":      fields("zz", raw(0xa2, 0xc0, 0x80)),
		"str beyond U+10FFFF":            fields("zz", raw(0xa4, 0xf4, 0x90, 0x80, 0x80)),
		"key that is not UTF-8":          join(raw(0x81), badText, num(1)),
		"key within that is not UTF-8":   fields("zz", wire.Raw(join(raw(0x81), badText, num(1)))),
		"nested 17 deep":                 nest(17),
		"nested 17 deep in lists":        fields("zz", bytesRaw(0x91, 15), "y", wire.Raw(append(bytes.Repeat([]byte{0x91}, 16), 0x90))),
		"a million lists in one another": fields("zz", bytesRaw(0x91, 1_000_000)),
		"a trailing byte behind 16":      join(nest(16), raw(0xc0)),
	}
	types := append(typed(), wire.TypeSWIMPing)
	for name, payload := range tests {
		t.Run(name, func(t *testing.T) {
			for _, typ := range types {
				m, err := decode(typ, payload)
				require.ErrorIs(t, err, wire.ErrMsgpack, typ)
				assert.Nil(t, m, typ)
				assert.NotErrorIs(t, err, wire.ErrNotMap)
			}
			assert.ErrorIs(t, framing.Frame{Type: 0xee, Payload: payload}.Check(), wire.ErrMsgpack)
		})
	}
}

// bytesRaw is n times b and then a nil.
func bytesRaw(b byte, n int) wire.Raw { return append(bytes.Repeat([]byte{b}, n), 0xc0) }

func TestSound(t *testing.T) {
	tests := map[string]wire.Raw{
		"empty":                       fields(),
		"map16":                       join(raw(0xde, 0x00, 0x01), bin("zz"), num(1)),
		"map32":                       join(raw(0xdf, 0, 0, 0, 1), bin("zz"), num(1)),
		"nested 16 deep":              nest(16),
		"16 deep with lists":          fields("zz", bytesRaw(0x91, 15)),
		"int key":                     join(raw(0x81), num(1), num(2)),
		"nil, bool and float keys":    join(raw(0x83), nilValue, num(1), aBool, num(1), raw(0xca, 0, 0, 0, 0), num(1)),
		"a map as key":                join(raw(0x81), fields("a", num(1)), num(2)),
		"a key of no bytes":           fields("", num(1)),
		"bin that is not UTF-8":       fields("zz", raw(0xc4, 0x02, 0xff, 0xfe)),
		"bin16 and bin32 for a key":   join(raw(0x82, 0xc5, 0, 1, 'a'), num(1), raw(0xc6, 0, 0, 0, 1, 'b'), num(1)),
		"str8, str16 and str32 texts": join(raw(0x83, 0xd9, 1, 'a'), num(1), raw(0xda, 0, 1, 'b'), num(1), raw(0xdb, 0, 0, 0, 1, 'c'), num(1)),
	}
	for name, payload := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := decode(wire.TypePing, payload)
			require.NoError(t, err)
			assert.Equal(t, &wire.Ping{}, m)
			o, err := decode(wire.TypeSWIMPing, payload)
			require.NoError(t, err)
			assert.Equal(t, &wire.Opaque{MessageType: wire.TypeSWIMPing, Fields: payload}, o)
		})
	}
	t.Run("keys that are no text are skipped", func(t *testing.T) {
		m, err := decode(wire.TypePing, join(raw(0x84), num(1), num(2), bin("timestamp"), num(3), fields("timestamp", num(4)), num(5), list(), num(6)))
		require.NoError(t, err)
		assert.Equal(t, &wire.Ping{Timestamp: wire.Some[int64](3)}, m)
	})
}

func TestNotMap(t *testing.T) {
	tests := map[string]wire.Raw{
		"nil": nilValue, "bool": aBool, "int": num(5), "bin": bin("x"), "str": str("x"), "array": list(num(1)), "float": {0xca, 0, 0, 0, 0},
	}
	for name, payload := range tests {
		t.Run(name, func(t *testing.T) {
			for _, typ := range append(typed(), wire.TypeSWIMPing) {
				m, err := decode(typ, payload)
				require.ErrorIs(t, err, wire.ErrNotMap, typ)
				assert.Nil(t, m)
			}
			_, err := decode(wire.TypePing, join(payload, raw(0)))
			require.ErrorIs(t, err, wire.ErrMsgpack, "damage comes first")
		})
	}
	_, err := decode(wire.TypePing, anExt)
	require.ErrorIs(t, err, wire.ErrMsgpack)
}

// The values that are judged elsewhere may hold what would break a frame.
func TestRawFieldsSpoilNoFrame(t *testing.T) {
	bad := map[string]wire.Raw{
		"ext": fields("a", anExt), "bad UTF-8": fields("a", badText), "bad UTF-8 in a key": join(raw(0x81), badText, num(1)),
	}
	for name, value := range bad {
		t.Run(name, func(t *testing.T) {
			m, err := decode(wire.TypeStore, fields("key", bin("k"), "value", value))
			require.NoError(t, err)
			assert.Equal(t, &wire.Store{Key: []byte("k"), Value: value}, m)
			_, err = values.Parse(value)
			require.ErrorIs(t, err, values.ErrBad)

			m, err = decode(wire.TypeCall, fields("procedure", bin(wire.ProcedureStore), "args", fields("key", bin("k"), "value", value)))
			require.NoError(t, err)
			var args procedures.StoreArgs
			require.NoError(t, args.Decode(m.(*wire.Call).Args))
			assert.Equal(t, value, args.Value)

			_, err = decode(wire.TypeFindValueReply, fields("value", list(value)))
			require.ErrorIs(t, err, wire.ErrMsgpack, "in a reply it does")
		})
	}
	for name, ext := range map[string]wire.Raw{
		"fixext1": anExt, "fixext2": append(raw(0xd5, 1), make([]byte, 2)...), "fixext4": append(raw(0xd6, 1), make([]byte, 4)...),
		"fixext8": append(raw(0xd7, 1), make([]byte, 8)...), "fixext16": append(raw(0xd8, 1), make([]byte, 16)...),
		"ext8": raw(0xc7, 2, 1, 0xc1, 0xc1), "ext16": raw(0xc8, 0, 1, 1, 0xc1), "ext32": raw(0xc9, 0, 0, 0, 0, 1), "ext8 of nothing": raw(0xc7, 0, 1),
	} {
		t.Run("is cut where it ends/"+name, func(t *testing.T) {
			m, err := decode(wire.TypeStore, fields("value", ext, "key", bin("k")))
			require.NoError(t, err)
			assert.Equal(t, &wire.Store{Key: []byte("k"), Value: ext}, m)
		})
	}
	t.Run("but it must be MessagePack", func(t *testing.T) {
		_, err := decode(wire.TypeStore, fields("key", bin("k"), "value", raw(0xc1)))
		require.ErrorIs(t, err, wire.ErrMsgpack)
	})
}

// A value that is not there must not eat its neighbour.
func TestEmptyRawIsNil(t *testing.T) {
	assert.Equal(t, fields("a", nilValue, "b", num(1)), wire.RawMap(wire.Pair{Key: "a"}, wire.Pair{Key: "b", Value: num(1)}))
	assert.Equal(t, list(nilValue, num(1)), wire.RawArray(nil, num(1)))
	b, err := framing.AppendFrame(nil, &wire.FindValueReply{Values: []wire.Raw{nil, num(1)}})
	require.NoError(t, err)
	f, _, err := framing.DecodeFrame(b)
	require.NoError(t, err)
	m, err := f.Decode()
	require.NoError(t, err)
	assert.Equal(t, []wire.Raw{nilValue, num(1)}, m.(*wire.FindValueReply).Values)
}
