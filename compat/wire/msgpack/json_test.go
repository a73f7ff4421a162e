package msgpack_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

func TestMarshalJSON(t *testing.T) {
	tests := map[string]struct {
		in   msgpack.Raw
		want string
	}{
		"nil":                         {nilValue, `null`},
		"bools":                       {list(raw(0xc2), raw(0xc3)), `[false,true]`},
		"ints":                        {list(num(0), num(-1), num(math.MaxInt64), num(math.MinInt64)), `[0,-1,9223372036854775807,-9223372036854775808]`},
		"uint64 max":                  {raw(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), `18446744073709551615`},
		"floats":                      {list(float(1.5), float(-0.25), raw(0xca, 0x3f, 0x80, 0, 0)), `[1.5,-0.25,1.0]`},
		"floats without a fraction":   {list(float(2), float(0), float(-100), float(math.Copysign(0, -1)), float(1e300), float(1<<53)), `[2.0,0.0,-100.0,-0.0,1e+300,9007199254740992.0]`},
		"floats that JSON has not":    {list(float(math.NaN()), float(math.Inf(1)), float(math.Inf(-1))), `["NaN","+Inf","-Inf"]`},
		"texts":                       {list(bin("abc"), bin("é"), bin("")), `["abc","é",""]`},
		"a str is a list of numbers":  {list(str("é"), str("\x00\x01"), str("ⓣⓤⓥ"), str("")), `[[233],[0,1],[9443,9444,9445],[]]`},
		"a str for a key":             {asMap(str("é"), num(1)), `{"é":1}`},
		"no HTML escapes":             {bin("<a&b>"), `"<a&b>"`},
		"lines and tabs":              {bin("a\n\tb"), `"a\n\tb"`},
		"bytes":                       {raw(0xc4, 2, 0xff, 0x00), `{"$bin":"ff00"}`},
		"control characters":          {bin("a\x00\x1b[31m\r\n\x7f\u009b"), `"a\u0000\u001b[31m\r\n\u007f\u009b"`},
		"spaces of all kinds":         {bin("a\u00a0b\u3000c\u2009"), "\"a\u00a0b\u3000c\u2009\""},
		"what joins and parts":        {bin("می\u200cخواهم 👩\u200d🚀"), "\"می\u200cخواهم 👩\u200d🚀\""},
		"what turns a line round":     {bin("\u202ea\u2066"), `"\u202ea\u2066"`},
		"what is in no plane of text": {bin("\U000e0001\U0010ffff\ufeff"), `"\udb40\udc01\udbff\udfff\ufeff"`},
		"a key that steers":           {asMap(bin("\x1b"), num(1)), `{"\u001b":1}`},
		"empty containers":            {list(list(), fields()), `[[],{}]`},
		"map":                         {fields("b", num(1), "a", list(bin("x"))), `{"a":["x"],"b":1}`},
		"duplicate keys":              {fields("a", num(1), "a", num(2)), `{"a":2}`},
		"key of bytes":                {asMap(raw(0xc4, 1, 0xff), num(1)), `{"ff":1}`},
		"keys that are no text":       {asMap(num(7), num(1), nilValue, num(2), aBool, num(3)), `{"7":1,"null":2,"true":3}`},
		"keys that are maps or list":  {asMap(fields("a", num(1)), num(1), list(), num(2)), `{"81c4016101":1,"90":2}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.in.MarshalJSON()
			require.NoError(t, err)
			assert.Equal(t, test.want, string(got))
			via, err := json.Marshal(map[string]any{"v": test.in})
			require.NoError(t, err)
			assert.JSONEq(t, `{"v":`+test.want+`}`, string(via))
		})
	}
	for name, in := range map[string]msgpack.Raw{
		"nothing": {}, "damaged": {0x81}, "trailing": {0xc0, 0xc0}, "ext": list(anExt), "bad UTF-8": badText, "too deep": nest(17),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := in.MarshalJSON()
			require.ErrorIs(t, err, msgpack.ErrMalformed)
		})
	}
}

// A string of JSON in a string of JSON doubles its quotes with every level: as
// keys within keys a stored value would become gigabytes.
func TestMarshalJSONOfNestedKeysStaysSmall(t *testing.T) {
	v := bin(strings.Repeat(`"`, 1000))
	for range msgpack.MaxValueDepth - 1 {
		v = asMap(v, nilValue)
	}
	out, err := v.MarshalJSON()
	require.NoError(t, err)
	assert.Less(t, len(out), 10_000)
}

func TestFromJSON(t *testing.T) {
	tests := map[string]struct {
		in   string
		want msgpack.Raw
	}{
		"null":                   {`null`, nilValue},
		"bools":                  {`[true, false]`, list(raw(0xc3), raw(0xc2))},
		"ints":                   {`[0, 127, 128, -1, -33, 9223372036854775807, -9223372036854775808]`, list(raw(0), raw(0x7f), raw(0xcc, 0x80), raw(0xff), raw(0xd0, 0xdf), msgpack.RawInt(math.MaxInt64), num(math.MinInt64))},
		"uint64 max":             {`18446744073709551615`, raw(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		"float beyond 64 bits":   {`18446744073709551616.0`, msgp.AppendFloat64(nil, 1<<64)},
		"floats":                 {`[1.0, 1e2, -0.5]`, list(msgp.AppendFloat64(nil, 1), msgp.AppendFloat64(nil, 100), msgp.AppendFloat64(nil, -0.5))},
		"strings are bin":        {`["a", "", "\u00e9\ud83d\ude00"]`, list(bin("a"), bin(""), bin("é😀"))},
		"long string":            {`"` + strings.Repeat("x", 300) + `"`, bin(strings.Repeat("x", 300))},
		"map in its order":       {`{"b": 1, "a": {"c": []}}`, fields("b", num(1), "a", fields("c", list()))},
		"duplicate keys":         {`{"a": 1, "a": 2}`, fields("a", num(1), "a", num(2))},
		"$bin":                   {`{"$bin": "00ff"}`, raw(0xc4, 2, 0, 0xff)},
		"$bin, upper case":       {`{"$bin": "FF"}`, raw(0xc4, 1, 0xff)},
		"$bin, empty":            {`{"$bin": ""}`, bin("")},
		"$bin nested":            {`{"a": [{"$bin": "00"}]}`, fields("a", list(raw(0xc4, 1, 0)))},
		"$bin beside other keys": {`{"$bin": "00", "a": 1}`, fields("$bin", bin("00"), "a", num(1))},
		"$bin behind other keys": {`{"a": 1, "$bin": "00"}`, fields("a", num(1), "$bin", bin("00"))},
		"empty containers":       {` [ [], {} ] `, list(list(), fields())},
		"16 items":               {`[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]`, join(raw(0xdc, 0, 16), raw(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))},
		"16 deep":                {strings.Repeat("[", 16) + strings.Repeat("]", 16), append(msgpack.Raw(strings.Repeat("\x91", 15)), 0x90)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := msgpack.FromJSON([]byte(test.in))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	for name, in := range map[string]string{
		"nothing": ``, "blank": `  `, "no JSON": `abc`, "two values": `1 2`, "two maps": `{}{}`, "garbage behind": `{} x`,
		"open list": `[1`, "open map": `{"a":1`, "key only": `{"a"}`, "no colon": `{"a" 1}`, "no comma": `[1 2]`, "comma too many": `[1,]`,
		"comma too many in a map": `{"a":1,}`, "wrong bracket": `[1}`, "only a bracket": `]`, "key no string": `{1:2}`, "open string": `"a`,
		"number too large": `1e999`, "number too small": `1e-999`, "integer beyond 64 bits": `18446744073709551616`, "integer below 64 bits": `[-9223372036854775809]`, "leading zero": `01`, "plus": `+1`, "NaN": `NaN`,
		"$bin no string": `{"$bin": 1}`, "$bin no hex": `{"$bin": "zz"}`, "$bin odd": `{"$bin": "0"}`, "$bin a map": `{"$bin": {}}`,
		"17 deep": strings.Repeat("[", 17) + strings.Repeat("]", 17), "a million deep": strings.Repeat("[", 1_000_000), "a million maps deep": strings.Repeat(`{"a":`, 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := msgpack.FromJSON([]byte(in))
			require.Error(t, err)
			assert.Nil(t, got)
			assert.Contains(t, err.Error(), "not a JSON value")
		})
	}
}

// What was written as JSON reads the same after it was MessagePack.
func TestJSONRoundTrip(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `0`, `-5`, `9007199254740993`, `18446744073709551615`, `-9223372036854775808`, `1.5`, `2.0`, `-0.0`, `1e+300`, `5e-324`,
		`"text"`, `"<&>"`, `[]`, `{}`, `{"$bin":"00ff"}`, `{"a":[1,{"$bin":"fe"},{"b":null}],"c":"é"}`,
		`{"endpoint":"https://127.0.0.1:9443","node_id":{"$bin":"e91104e590"},"ttl":300}`,
		strings.Repeat("[", 16) + strings.Repeat("]", 16),
	} {
		raw, err := msgpack.FromJSON([]byte(text))
		require.NoError(t, err, text)
		got, err := raw.MarshalJSON()
		require.NoError(t, err, text)
		assert.Equal(t, text, string(got))
	}
	for i := range 0x1100 { // each 256 characters of all there are
		var text strings.Builder
		for c := range rune(256) {
			text.WriteRune(rune(i)<<8 + c) // U+FFFD for the half of a pair
		}
		quoted, err := json.Marshal(text.String())
		require.NoError(t, err)
		raw, err := msgpack.FromJSON(quoted)
		require.NoError(t, err)
		got, err := raw.MarshalJSON()
		require.NoError(t, err)
		var back string
		require.NoError(t, json.Unmarshal(got, &back), "%s", got)
		require.Equal(t, text.String(), back)
	}
	// Bytes that are a text are shown as one, and stay the same bytes.
	raw, err := msgpack.FromJSON([]byte(`{"$bin":"616263"}`))
	require.NoError(t, err)
	assert.Equal(t, bin("abc"), raw)
}

// A line of JSON may hold what others than MarshalJSON have written.
func TestEscapeJSON(t *testing.T) {
	in := "{\"a\":\"\u009b31m\u007f é\u202e\"}\n"
	assert.Equal(t, `{"a":"\u009b31m\u007f é\u202e"}`+"\n", string(msgpack.EscapeJSON([]byte(in))))
	plain := []byte(`{"a":1}`)
	assert.Same(t, &plain[0], &msgpack.EscapeJSON(plain)[0])
}
