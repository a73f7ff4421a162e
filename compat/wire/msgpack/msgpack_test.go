package msgpack_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

func TestRawInt(t *testing.T) {
	tests := map[string]struct {
		in   msgpack.Raw
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
			assert.Equal(t, msgpack.Int, test.in.Kind())
			i, ok := test.in.Int()
			assert.True(t, ok)
			assert.Equal(t, test.want, i)
		})
	}
	for _, i := range []int64{0, 1, 127, 128, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, -1, -32, -33, -128, -129, -32769, math.MinInt32 - 1, math.MinInt64} {
		got, ok := msgpack.RawInt(i).Int()
		assert.True(t, ok)
		assert.Equal(t, i, got)
	}
}

// Accessors of a value of another type, or of bytes that are none, say no and
// do not panic.
func TestRawAccessorsOfOthers(t *testing.T) {
	for _, r := range []msgpack.Raw{nil, {}, {0xc1}, {0xc4}, {0xc4, 5, 1}, {0xcf, 1}, {0xda, 0}, {0xdf, 0xff}, {0x81}, {0x91}, {0xc7}, nilValue, anExt} {
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
		if r.Kind() == msgpack.Invalid {
			_, err := r.MarshalJSON()
			assert.ErrorIs(t, err, msgpack.ErrMalformed, "%x", r)
		}
	}
}

func TestRawField(t *testing.T) {
	m := msgpack.Raw(join(raw(0x84), bin("a"), num(1), str("b"), num(2), num(7), num(3), bin("a"), num(4)))
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
		in   msgpack.Raw
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

func TestWhole(t *testing.T) {
	tests := map[string]struct {
		in   msgpack.Raw
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
