package wire_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
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
			assert.ErrorIs(t, wire.Frame{Type: 0xee, Payload: payload}.Check(), wire.ErrMsgpack)
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
			_, err = wire.ParseValue(value)
			require.ErrorIs(t, err, wire.ErrBadValue)

			m, err = decode(wire.TypeCall, fields("procedure", bin(wire.ProcedureStore), "args", fields("key", bin("k"), "value", value)))
			require.NoError(t, err)
			var args wire.StoreArgs
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

func TestRawInt(t *testing.T) {
	tests := map[string]struct {
		in   wire.Raw
		want int64
	}{
		"fixint": {raw(0x7f), 127}, "negative fixint": {raw(0xe0), -32},
		"uint8": {raw(0xcc, 0xff), 255}, "uint16": {raw(0xcd, 0xff, 0xff), 65535}, "uint32": {raw(0xce, 0xff, 0xff, 0xff, 0xff), math.MaxUint32},
		"int8": {raw(0xd0, 0x80), -128}, "int16": {raw(0xd1, 0x80, 0), math.MinInt16}, "int32": {raw(0xd2, 0x80, 0, 0, 0), math.MinInt32},
		"int64 min":          {raw(0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0), math.MinInt64},
		"int64 max":          {raw(0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), math.MaxInt64},
		"above int64":        {raw(0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0), math.MaxInt64},
		"uint64 max":         {raw(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), math.MaxInt64},
		"a positive int32":   {raw(0xd2, 0, 0, 0, 1), 1},
		"not the least form": {raw(0xcf, 0, 0, 0, 0, 0, 0, 0, 1), 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, wire.Int, test.in.Kind())
			i, ok := test.in.Int()
			assert.True(t, ok)
			assert.Equal(t, test.want, i)
		})
	}
	for _, i := range []int64{0, 1, 127, 128, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, -1, -32, -33, -128, -129, -32769, math.MinInt32 - 1, math.MinInt64} {
		got, ok := wire.RawInt(i).Int()
		assert.True(t, ok)
		assert.Equal(t, i, got)
	}
}

// Accessors of a value of another type, or of bytes that are none, say no and
// do not panic.
func TestRawAccessorsOfOthers(t *testing.T) {
	for _, r := range []wire.Raw{nil, {}, {0xc1}, {0xc4}, {0xc4, 5, 1}, {0xcf, 1}, {0xda, 0}, {0xdf, 0xff}, {0x81}, {0x91}, {0xc7}, nilValue, anExt} {
		_, ok := r.Int()
		assert.False(t, ok, "%x", r)
		_, ok = r.Bytes()
		assert.False(t, ok, "%x", r)
		_, ok = r.Bool()
		assert.False(t, ok, "%x", r)
		_, ok = r.Field("a")
		assert.False(t, ok, "%x", r)
		for range r.Fields() {
			t.Errorf("%x has fields", r)
		}
		for range r.Elems() {
			t.Errorf("%x has elements", r)
		}
		if r.Kind() == wire.Invalid {
			_, err := r.MarshalJSON()
			assert.ErrorIs(t, err, wire.ErrMsgpack, "%x", r)
		}
	}
}

func TestRawField(t *testing.T) {
	m := wire.Raw(join(raw(0x84), bin("a"), num(1), str("b"), num(2), num(7), num(3), bin("a"), num(4)))
	v, ok := m.Field("a")
	assert.True(t, ok)
	assert.Equal(t, num(4), v, "the last wins")
	v, ok = m.Field("b")
	assert.True(t, ok, "a str is a key as well")
	assert.Equal(t, num(2), v)
	_, ok = m.Field("c")
	assert.False(t, ok)
	damaged := m[:len(m)-1]
	v, ok = damaged.Field("a")
	assert.True(t, ok, "what comes before the damage")
	assert.Equal(t, num(1), v)
}

func TestRawInts(t *testing.T) {
	tests := map[string]struct {
		in   wire.Raw
		want []int64
		ok   bool
	}{
		"array":                 {list(num(1), num(-70_000)), []int64{1, -70_000}, true},
		"code points":           {raw(0xa3, 1, 2, 3), []int64{1, 2, 3}, true},
		"ports":                 {raw(0xa6, 0xe2, 0x93, 0xa3, 0xe2, 0x93, 0xa4), []int64{9443, 9444}, true},
		"U+FFFD is a number":    {str("\ufffd"), []int64{0xfffd}, true},
		"empty str":             {str(""), nil, true},
		"empty array":           {list(), nil, true},
		"not UTF-8":             {badText, nil, false},
		"bin":                   {bin("a"), nil, false},
		"int":                   {num(1), nil, false},
		"array with a text":     {list(num(1), bin("a")), nil, false},
		"array with a fraction": {list(num(1), float(0.5)), nil, false},
		"array with a float":    {list(num(1), float(2)), []int64{1, 2}, true},
		"nil is no list here":   {nilValue, nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := test.in.Ints()
			assert.Equal(t, test.ok, ok)
			assert.Equal(t, test.want, got)
		})
	}
}

// A value that is not there must not eat its neighbour.
func TestEmptyRawIsNil(t *testing.T) {
	assert.Equal(t, fields("a", nilValue, "b", num(1)), wire.RawMap(wire.Pair{Key: "a"}, wire.Pair{Key: "b", Value: num(1)}))
	assert.Equal(t, list(nilValue, num(1)), wire.RawArray(nil, num(1)))
	b, err := wire.AppendFrame(nil, &wire.FindValueReply{Values: []wire.Raw{nil, num(1)}})
	require.NoError(t, err)
	f, _, err := wire.DecodeFrame(b)
	require.NoError(t, err)
	m, err := f.Decode()
	require.NoError(t, err)
	assert.Equal(t, []wire.Raw{nilValue, num(1)}, m.(*wire.FindValueReply).Values)
}

func TestWhole(t *testing.T) {
	tests := map[string]struct {
		in   wire.Raw
		want int64
		ok   bool
	}{
		"int":                 {num(-5), -5, true},
		"float64":             {float(1_700_000_000_123), 1_700_000_000_123, true},
		"float32":             {raw(0xca, 0xc3, 0x96, 0, 0), -300, true},
		"zero":                {float(0), 0, true},
		"minus zero":          {float(math.Copysign(0, -1)), 0, true},
		"fraction":            {float(0.5), 0, false},
		"least":               {float(-1 << 63), math.MinInt64, true},
		"below":               {float(-1<<63 - 2048), 0, false},
		"greatest":            {float(1<<63 - 1024), 1<<63 - 1024, true},
		"above":               {float(1 << 63), 0, false},
		"infinite":            {float(math.Inf(1)), 0, false},
		"NaN":                 {float(math.NaN()), 0, false},
		"text":                {bin("1"), 0, false},
		"a float that is cut": {raw(0xcb, 0, 0), 0, false},
		"nothing":             {nil, 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := test.in.Whole()
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.ok, ok)
		})
	}
	_, ok := float(1).Int()
	assert.False(t, ok, "Int goes by the type")
}
