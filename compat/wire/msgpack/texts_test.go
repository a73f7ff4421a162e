package msgpack_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

func TestTextsAsBin(t *testing.T) {
	text := func(n int) string { return strings.Repeat("é", n/2) + strings.Repeat("x", n%2) }
	tests := map[string]struct{ in, want msgpack.Raw }{
		"a0":                   {str(""), raw(0xc4, 0)},
		"fixstr":               {str("abc"), bin("abc")},
		"str8":                 {raw(0xd9, 1, 'a'), bin("a")},
		"str8 of 255":          {str(text(255)), bin(text(255))},
		"str16":                {str(text(256)), bin(text(256))},
		"str16 of few bytes":   {raw(0xda, 0, 1, 'a'), bin("a")},
		"str16 of 65,535":      {str(text(65535)), bin(text(65535))},
		"str32":                {str(text(65536)), bin(text(65536))},
		"str32 of few bytes":   {raw(0xdb, 0, 0, 0, 1, 'a'), bin("a")},
		"huge":                 {str(text(1 << 20)), bin(text(1 << 20))},
		"keys":                 {asMap(str("a"), num(1), bin("b"), num(2)), fields("a", num(1), "b", num(2))},
		"nested":               {fields("a", list(str("x"), asMap(str("b"), list(str(""))))), fields("a", list(bin("x"), fields("b", list(bin("")))))},
		"code points":          {fields("ports", raw(0xa3, 1, 2, 3)), fields("ports", bin("\x01\x02\x03"))},
		"all else as it is":    {list(str(""), num(-1), nilValue, aBool, anExt, raw(0xca, 1, 2, 3, 4)), list(bin(""), num(-1), nilValue, aBool, anExt, raw(0xca, 1, 2, 3, 4))},
		"16 deep":              {msgpack.Raw(append(bytes.Repeat([]byte{0x91}, 16), 0xa0)), msgpack.Raw(append(bytes.Repeat([]byte{0x91}, 16), 0xc4, 0))},
		"a str as long as can": {list(str("a"), str(text(70_000)), str("")), list(bin("a"), bin(text(70_000)), bin(""))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(test.in)
			got, err := msgpack.TextsAsBin(test.in)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(test.want, got))
			assert.True(t, bytes.Equal(before, test.in), "the input is left alone")
			again, err := msgpack.TextsAsBin(got)
			require.NoError(t, err)
			assert.Same(t, &got[0], &again[0], "and nothing is left to do")
		})
	}
	t.Run("unchanged is the same memory", func(t *testing.T) {
		for _, in := range []msgpack.Raw{fields("a", bin("b")), num(1), list()} {
			got, err := msgpack.TextsAsBin(in)
			require.NoError(t, err)
			assert.Same(t, &in[0], &got[0])
			assert.Len(t, got, len(in))
		}
	})
	for name, in := range map[string]msgpack.Raw{
		"nothing": {}, "damaged": {0x81}, "trailing": {0xa0, 0xa0}, "bad UTF-8": list(str("a"), badText), "too deep": bytesRaw(0x91, 17),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := msgpack.TextsAsBin(in)
			require.ErrorIs(t, err, msgpack.ErrMalformed)
			assert.Nil(t, got)
		})
	}
}

func TestTextsAsBinAllocatesOnce(t *testing.T) {
	in := list(str("a"), str(""), asMap(str("k"), str(strings.Repeat("x", 300))))
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = msgpack.TextsAsBin(in) }), 4.0)
}
