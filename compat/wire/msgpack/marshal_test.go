package msgpack_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

type (
	word  string
	id    [4]byte
	octet byte

	place struct {
		City string
		Tags []string `macula:"tags,omitempty"`
	}

	base struct {
		NodeID []byte
		Kind   word
	}

	service struct {
		base
		Endpoint string `macula:"endpoint"`
		TTL      time.Duration
		Metadata map[word]any `macula:",omitempty"`
		Secret   string       `macula:"-"`
		Kind     string       `macula:"kind"`
		hidden   int
	}

	everything struct {
		Bool     bool
		Int      int
		Int8     int8
		Int16    int16
		Int32    int32
		Int64    int64
		Uint     uint
		Uint8    uint8
		Uint16   uint16
		Uint32   uint32
		Uint64   uint64
		Float32  float32
		Float64  float64
		String   string
		Word     word
		Bytes    []byte
		ID       id
		Octets   []octet
		Ints     []int
		Strings  []string
		Pair     [2]uint16
		Map      map[string]int8
		Places   []place
		Pointer  *place
		PointerP **int
		ByName   map[word]*place
		Opt      uint16 `macula:"opt,omitempty"`
	}
)

type (
	pointer  *pointer
	selfList []selfList
	linked   struct{ Next *linked }
)

func TestMarshal(t *testing.T) {
	number := 7
	toNumber := &number
	tests := map[string]struct {
		in   any
		want msgpack.Raw
	}{
		"nil":                    {nil, nilValue},
		"nil pointer":            {(*int)(nil), nilValue},
		"pointers":               {&toNumber, num(7)},
		"bools":                  {[]bool{false, true}, list(raw(0xc2), raw(0xc3))},
		"ints":                   {[]int64{0, 127, 128, -1, -32, -33, math.MaxInt64, math.MinInt64}, list(raw(0), raw(0x7f), raw(0xcc, 0x80), raw(0xff), raw(0xe0), raw(0xd0, 0xdf), msgpack.RawInt(math.MaxInt64), num(math.MinInt64))},
		"uint64 max":             {uint64(math.MaxUint64), raw(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		"floats":                 {[]any{1.0, float32(0.5)}, list(float(1), float(0.5))},
		"text":                   {"é", bin("é")},
		"text of a named type":   {word("w"), bin("w")},
		"text that is not UTF-8": {"\xff", raw(0xc4, 1, 0xff)},
		"long text":              {strings.Repeat("x", 300), bin(strings.Repeat("x", 300))},
		"bytes":                  {[]byte{0, 1}, raw(0xc4, 2, 0, 1)},
		"bytes of a named type":  {[]octet{0, 1}, raw(0xc4, 2, 0, 1)},
		"array of bytes":         {id{1, 2, 3, 4}, raw(0xc4, 4, 1, 2, 3, 4)},
		"array of bytes at":      {&id{1, 2, 3, 4}, raw(0xc4, 4, 1, 2, 3, 4)},
		"nil bytes":              {[]byte(nil), bin("")},
		"nil slice":              {[]int(nil), list()},
		"array":                  {[2]string{"a", "b"}, list(bin("a"), bin("b"))},
		"nil map":                {map[string]int(nil), fields()},
		"map, sorted":            {map[word]int{"b": 1, "a": 2, "": 3}, fields("", num(3), "a", num(2), "b", num(1))},
		"duration":               {300 * time.Second, msgpack.RawInt(300)},
		"raw":                    {map[string]msgpack.Raw{"a": fields("b", str("kept")), "e": nil}, fields("a", fields("b", str("kept")), "e", nilValue)},
		"empty struct":           {struct{}{}, fields()},
		"struct": {service{base: base{NodeID: []byte("n"), Kind: "inner"}, Endpoint: "e", TTL: time.Minute, Kind: "outer", Secret: "s", hidden: 1},
			fields("node_id", bin("n"), "kind", bin("outer"), "endpoint", bin("e"), "ttl", num(60))},
		"struct, nothing omitted": {service{Metadata: map[word]any{"version": "1.0", "n": nil}},
			fields("node_id", bin(""), "kind", bin(""), "endpoint", bin(""), "ttl", num(0), "metadata", fields("n", nilValue, "version", bin("1.0")))},
		"deepest": {nested(msgpack.MaxValueDepth), bytesRaw(0x91, msgpack.MaxValueDepth)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := msgpack.Marshal(test.in)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			require.NoError(t, got.Check(msgpack.MaxValueDepth))
		})
	}
}

// nested is nil in that many lists.
func nested(levels int) any {
	var v any
	for range levels {
		v = []any{v}
	}
	return v
}

func TestMarshalNames(t *testing.T) {
	got, err := msgpack.Marshal(struct{ A, NodeID, ID, MaxHTTPConns, TTLSeconds, X509, Port2Go, With_Line int }{})
	require.NoError(t, err)
	var names []string
	for key := range got.Fields() {
		name, _ := key.Bytes()
		names = append(names, string(name))
	}
	assert.Equal(t, []string{"a", "node_id", "id", "max_http_conns", "ttl_seconds", "x509", "port2_go", "with_line"}, names)
}

func TestMarshalErrors(t *testing.T) {
	var cyclic pointer
	cyclic = &cyclic
	var box any
	box = &box
	self := selfList{nil}
	self[0] = self
	ring := &linked{}
	ring.Next = ring
	selfMap := map[string]any{}
	selfMap["m"] = selfMap
	type twins struct {
		A int `macula:"x"`
		B int `macula:"x"`
	}
	type left struct{ Same int }
	type right struct{ Same int }
	wide := make([]any, 1000)
	for i := range wide {
		wide[i] = make([]int, 1000)
	}
	tests := map[string]struct {
		in   any
		want error
		path string // "-" for none
	}{
		"channel":            {make(chan int), msgpack.ErrUnsupported, "-"},
		"nil channel within": {map[string]any{"metadata": map[string]any{"tags": []any{1, 2, (chan int)(nil)}}}, msgpack.ErrUnsupported, "metadata.tags[2]"},
		"func":               {struct{ F func() }{}, msgpack.ErrUnsupported, "f"},
		"complex":            {[]any{1i}, msgpack.ErrUnsupported, "[0]"},
		"int keys":           {map[string]any{"a": map[int]int{}}, msgpack.ErrUnsupported, "a"},
		"NaN":                {[][]float64{{0, math.NaN()}}, msgpack.ErrUnsupported, "[0][1]"},
		"infinite":           {math.Inf(-1), msgpack.ErrUnsupported, "-"},
		"half a second":      {struct{ TTL time.Duration }{time.Second / 2}, msgpack.ErrUnsupported, "ttl"},
		"only hidden fields": {struct{ At time.Time }{}, msgpack.ErrUnsupported, "at"},
		"same name twice":    {twins{}, msgpack.ErrUnsupported, "-"},
		"embedded twice": {struct {
			left
			right
		}{}, msgpack.ErrUnsupported, "-"},
		"unknown option": {struct {
			A int `macula:"a,string"`
		}{}, msgpack.ErrUnsupported, "-"},
		"a pointer to itself":  {cyclic, msgpack.ErrTooDeep, "-"},
		"an any of itself":     {box, msgpack.ErrTooDeep, "-"},
		"a list of itself":     {self, msgpack.ErrTooDeep, strings.Repeat("[0]", msgpack.MaxValueDepth)},
		"a struct of itself":   {ring, msgpack.ErrTooDeep, strings.Repeat("next.", msgpack.MaxValueDepth-1) + "next"},
		"a map of itself":      {selfMap, msgpack.ErrTooDeep, strings.Repeat("m.", msgpack.MaxValueDepth-1) + "m"},
		"too deep":             {nested(msgpack.MaxValueDepth + 1), msgpack.ErrTooDeep, strings.Repeat("[0]", msgpack.MaxValueDepth)},
		"raw too deep":         {[]msgpack.Raw{nest(msgpack.MaxValueDepth)}, msgpack.ErrMalformed, "[0]"},
		"raw damaged":          {[]msgpack.Raw{{0x81}}, msgpack.ErrMalformed, "[0]"},
		"raw of two values":    {msgpack.Raw{1, 1}, msgpack.ErrMalformed, "-"},
		"raw ext":              {anExt, msgpack.ErrMalformed, "-"},
		"raw not UTF-8":        {badText, msgpack.ErrMalformed, "-"},
		"1 MiB of text":        {strings.Repeat("x", 1<<20), msgpack.ErrTooLarge, "-"},
		"a million ints":       {[]any{wide, wide}, msgpack.ErrTooLarge, ""},
		"an odd key in a path": {map[string]any{"a b\x00": 1i}, msgpack.ErrUnsupported, `"a b\x00"`},
		"a long key in a path": {map[string]any{strings.Repeat("k", 300): 1i}, msgpack.ErrUnsupported, strings.Repeat("k", 40) + "…"},
		"no key in a path":     {map[string]any{"": []any{1i}}, msgpack.ErrUnsupported, `""[0]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := msgpack.Marshal(test.in)
			assert.Nil(t, got)
			checkPath(t, err, test.want, test.path)
		})
	}
}

func checkPath(t *testing.T, err, want error, path string) {
	t.Helper()
	require.ErrorIs(t, err, want)
	var pe *msgpack.PathError
	switch {
	case path == "-":
		assert.False(t, errors.As(err, &pe), err)
	case assert.ErrorAs(t, err, &pe) && path != "":
		assert.Equal(t, path, pe.Path)
		assert.True(t, strings.HasPrefix(err.Error(), path+": "), err)
	}
}

func TestUnmarshal(t *testing.T) {
	seven := 7
	toSeven := &seven
	full := map[string]any{"a": int64(1)}
	tests := map[string]struct {
		in   msgpack.Raw
		want any // what a zero value of its type becomes
	}{
		"bin":                     {bin("abc"), "abc"},
		"str":                     {str("abc"), "abc"},
		"bytes as bin":            {bin("abc"), []byte("abc")},
		"bytes as str":            {str("abc"), []byte("abc")},
		"no bytes":                {str(""), []byte{}},
		"array of bytes":          {bin("abcd"), id{'a', 'b', 'c', 'd'}},
		"named bytes":             {bin("ab"), []octet{'a', 'b'}},
		"named text":              {str("w"), word("w")},
		"int":                     {num(-5), -5},
		"int as a whole float":    {float(300), 300},
		"uint8 as a whole float":  {float(255), uint8(255)},
		"uint64 max":              {raw(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), uint64(math.MaxUint64)},
		"float":                   {float(1.5), 1.5},
		"float as an int":         {num(-3), -3.0},
		"float as a great int":    {raw(0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0), float64(1 << 63)},
		"float32":                 {float(1.5), float32(1.5)},
		"bool":                    {aBool, true},
		"duration":                {num(300), 5 * time.Minute},
		"duration as a float":     {float(300), 5 * time.Minute},
		"list":                    {list(num(1), num(2)), []int{1, 2}},
		"list as code points":     {str("\x01\u24e3"), []int{1, 9443}},
		"uint16s as code points":  {str("\x01\u24e3"), []uint16{1, 9443}},
		"array as code points":    {str("\x01\x02"), [2]int{1, 2}},
		"list of whole floats":    {list(float(1), num(2)), []int64{1, 2}},
		"empty list":              {list(), []string{}},
		"empty list as str":       {str(""), []string{}},
		"empty list as bin":       {bin(""), []place{}},
		"no ints as str":          {str(""), []int{}},
		"map":                     {asMap(str("a"), num(1), bin("b"), num(2)), map[word]int{"a": 1, "b": 2}},
		"map, the last counts":    {fields("a", num(1), "a", num(2)), map[string]int{"a": 2}},
		"pointers":                {num(7), &toSeven},
		"nil pointer":             {nilValue, (**int)(nil)},
		"nil slice":               {nilValue, []int(nil)},
		"nil leaves an int":       {nilValue, 0},
		"raw":                     {fields("a", str("b")), fields("a", str("b"))},
		"raw nil":                 {nilValue, nilValue},
		"struct":                  {fields("city", bin("c"), "unknown", list(), "tags", list(str("x"))), place{City: "c", Tags: []string{"x"}}},
		"struct, int keys":        {asMap(num(1), num(2), bin("city"), bin("c")), place{City: "c"}},
		"struct, the last counts": {fields("tags", list(bin("x"), bin("y")), "tags", nilValue, "tags", list(bin("z"))), place{Tags: []string{"z"}}},
		"struct in a struct":      {fields("p", fields("city", bin("c")), "p", fields("tags", list())), struct{ P place }{place{Tags: []string{}}}},
		"embedded":                {fields("node_id", bin("n"), "kind", bin("k"), "ttl", num(5), "Secret", bin("s"), "secret", bin("s")), service{base: base{NodeID: []byte("n")}, Kind: "k", TTL: 5 * time.Second}},
		"any":                     {list(nilValue, aBool, num(-1), raw(0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0), float(2), bin("b"), str("s"), list(), fields("a", num(1))), []any{nil, true, int64(-1), uint64(0xff << 56), 2.0, "b", "s", []any{}, full}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			into := reflect.New(reflect.TypeOf(test.want))
			in := append(msgpack.Raw{}, test.in...)
			require.NoError(t, msgpack.Unmarshal(in, into.Interface()))
			clear(in)
			assert.Equal(t, test.want, into.Elem().Interface(), "and it shares no memory")
		})
	}
	t.Run("what is absent is left", func(t *testing.T) {
		p := place{City: "old", Tags: []string{"old", "older"}}
		require.NoError(t, msgpack.Unmarshal(fields("tags", list(bin("new"))), &p))
		assert.Equal(t, place{City: "old", Tags: []string{"new"}}, p)
		n := 5
		require.NoError(t, msgpack.Unmarshal(nilValue, &n))
		assert.Equal(t, 5, n)
	})
}

func TestUnmarshalErrors(t *testing.T) {
	type outer struct {
		Metadata struct{ Tags []string }
		Any      any
		Error    error
		Channel  chan int
	}
	tests := map[string]struct {
		in   msgpack.Raw
		into any
		want error
		path string
	}{
		"nothing":                 {nil, new(any), msgpack.ErrMalformed, "-"},
		"damaged":                 {raw(0x81), new(any), msgpack.ErrMalformed, "-"},
		"trailing":                {raw(1, 1), new(any), msgpack.ErrMalformed, "-"},
		"ext":                     {anExt, new(any), msgpack.ErrMalformed, "-"},
		"not UTF-8":               {badText, new([]byte), msgpack.ErrMalformed, "-"},
		"too deep":                {nest(17), new(any), msgpack.ErrMalformed, "-"},
		"no pointer":              {num(1), 1, msgpack.ErrUnsupported, "-"},
		"nil":                     {num(1), nil, msgpack.ErrUnsupported, "-"},
		"nil pointer":             {num(1), (*int)(nil), msgpack.ErrUnsupported, "-"},
		"a pointer to itself":     {num(1), new(pointer), msgpack.ErrUnsupported, "-"},
		"int within texts":        {fields("metadata", fields("tags", list(bin("a"), bin("b"), num(1)))), new(outer), msgpack.ErrMismatch, "metadata.tags[2]"},
		"text for a list":         {fields("metadata", fields("tags", str("a"))), new(outer), msgpack.ErrMismatch, "metadata.tags"},
		"bin for ints":            {bin("a"), new([]int), msgpack.ErrMismatch, "-"},
		"list for a struct":       {list(), new(outer), msgpack.ErrMismatch, "-"},
		"list for a map":          {list(), new(map[string]int), msgpack.ErrMismatch, "-"},
		"map for a list":          {fields(), new([]int), msgpack.ErrMismatch, "-"},
		"list for bytes":          {list(num(1)), new([]byte), msgpack.ErrMismatch, "-"},
		"text for an int":         {bin("1"), new(int), msgpack.ErrMismatch, "-"},
		"text for a float":        {bin("1"), new(float64), msgpack.ErrMismatch, "-"},
		"text for a bool":         {bin("1"), new(bool), msgpack.ErrMismatch, "-"},
		"int for a text":          {num(1), new(string), msgpack.ErrMismatch, "-"},
		"a fraction":              {float(1.5), new(int), msgpack.ErrMismatch, "-"},
		"a fraction for a uint":   {float(1.5), new(uint), msgpack.ErrMismatch, "-"},
		"above int64":             {raw(0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0), new(int64), msgpack.ErrRange, "-"},
		"above int8":              {num(128), new(int8), msgpack.ErrRange, "-"},
		"negative":                {num(-1), new(uint64), msgpack.ErrRange, "-"},
		"above uint8":             {num(256), new(uint8), msgpack.ErrRange, "-"},
		"above float32":           {float(1e300), new(float32), msgpack.ErrRange, "-"},
		"above a duration":        {num(math.MaxInt64), new(time.Duration), msgpack.ErrRange, "-"},
		"code point above uint16": {str("a\U0001F600"), new([]uint16), msgpack.ErrRange, "[1]"},
		"3 bytes for 4":           {bin("abc"), new(id), msgpack.ErrMismatch, "-"},
		"5 bytes for 4":           {bin("abcde"), new(id), msgpack.ErrMismatch, "-"},
		"1 for 2":                 {list(num(1)), new([2]int), msgpack.ErrMismatch, "-"},
		"3 for 2":                 {list(num(1), num(2), num(3)), new([2]int), msgpack.ErrMismatch, "-"},
		"map with an int key":     {asMap(num(1), num(1)), new(map[string]int), msgpack.ErrMismatch, "-"},
		"any with an int key":     {fields("any", asMap(num(1), num(1))), new(outer), msgpack.ErrMismatch, "any"},
		"map of int keys":         {fields(), new(map[int]int), msgpack.ErrUnsupported, "-"},
		"an interface":            {fields("error", bin("e")), new(outer), msgpack.ErrUnsupported, "error"},
		"a channel":               {fields("channel", num(1)), new(outer), msgpack.ErrUnsupported, "channel"},
		"a time":                  {fields(), new(time.Time), msgpack.ErrUnsupported, "-"},
		"within a map of a peer":  {fields(strings.Repeat("k", 50), fields("a.b", bin("x"))), new(map[string]map[string]int), msgpack.ErrMismatch, strings.Repeat("k", 40) + `….` + `"a.b"`},
		"a mistyped first of two": {fields("city", num(1), "city", bin("c")), new(place), msgpack.ErrMismatch, "city"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			checkPath(t, msgpack.Unmarshal(test.in, test.into), test.want, test.path)
		})
	}
}

// Short elements of a large type must not become many times their length.
func TestUnmarshalIsBounded(t *testing.T) {
	many := func(elem ...byte) msgpack.Raw {
		n := 1_000_000 / len(elem)
		return append(msgp.AppendArrayHeader(nil, uint32(n)), []byte(strings.Repeat(string(elem), n))...)
	}
	type large [1000]int
	keys := func(value ...byte) msgpack.Raw {
		const n = 1000
		b := msgp.AppendMapHeader(nil, n)
		for i := range n {
			b = append(append(b, bin(fmt.Sprint(i))...), value...)
		}
		return b
	}
	tests := map[string]struct {
		in   msgpack.Raw
		into any
	}{
		"large arrays":          {many(0xc0), new([]large)},
		"pointers to them":      {many(0x90), new([]*large)},
		"a map of them":         {keys(0xc0), new(map[string]large)},
		"a map of pointers":     {keys(0x90), new(map[string]*large)},
		"duplicates":            {append(msgp.AppendMapHeader(nil, 100_000), []byte(strings.Repeat("\xc4\x01p\xc0\xc4\x01p\x90", 50_000))...), new(struct{ P *large })},
		"anys: ints":            {many(0x01), new(any)},
		"anys: lists":           {many(0x90), new(any)},
		"anys: maps":            {many(0x80), new(any)},
		"anys: texts":           {many(0xa0), new(any)},
		"texts":                 {many(0xa0), new([]string)},
		"a header that promise": {raw(0xdd, 0xff, 0xff, 0xff, 0xff), new([]large)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			spent := allocated(func() { _ = msgpack.Unmarshal(test.in, test.into) })
			assert.Less(t, spent, uint64(3*(64<<10+64*len(test.in))), "what is thrown away is not counted")
		})
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What was marshalled reads the same, but that nil slices and maps are empty ones.
func TestMarshalRoundTrip(t *testing.T) {
	same := func(in everything) bool {
		raw, err := msgpack.Marshal(in)
		require.NoError(t, err)
		require.NoError(t, raw.Check(msgpack.MaxValueDepth))
		bins, err := msgpack.TextsAsBin(raw)
		require.NoError(t, err)
		require.Same(t, &raw[0], &bins[0], "all texts are bin")
		var out everything
		require.NoError(t, msgpack.Unmarshal(raw, &out))
		again, err := msgpack.Marshal(out)
		require.NoError(t, err)
		require.Equal(t, raw, again, "it is the same each time")
		notNil(reflect.ValueOf(&in).Elem())
		return assert.Equal(t, in, out)
	}
	require.NoError(t, quick.Check(same, &quick.Config{MaxCount: 200}))
}

// notNil makes nil slices and maps what they are once they were read: empty, or
// nil where they were left out.
func notNil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			notNil(v.Elem())
		}
	case reflect.Struct:
		if p, ok := v.Addr().Interface().(*place); ok && len(p.Tags) == 0 {
			p.Tags = nil
			return
		}
		for i := range v.NumField() {
			notNil(v.Field(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			notNil(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		for _, elem := range v.Seq2() {
			if elem.Kind() == reflect.Pointer {
				notNil(elem)
			}
		}
	}
}

// FuzzUnmarshal: no bytes make it panic, whatever they are read into, and what
// was read is written and read the same again.
func FuzzUnmarshal(f *testing.F) {
	for _, payload := range recorded(f) {
		f.Add([]byte(payload))
	}
	one := 1
	pone := &one
	whole, err := msgpack.Marshal(everything{
		Bytes: []byte("b"), Ints: []int{1, -1}, Strings: []string{"s"}, Map: map[string]int8{"m": -1}, Places: []place{{City: "c", Tags: []string{"t"}}},
		Pointer: &place{}, PointerP: &pone, ByName: map[word]*place{"n": {}, "z": nil}, Opt: 1,
	})
	require.NoError(f, err)
	f.Add([]byte(whole))
	for _, v := range []msgpack.Raw{
		nilValue, anExt, badText, nest(14), nest(17), str("\x01\x02"), fields("ints", str("ab"), "int8", float(3), "strings", str(""), "ttl", num(math.MaxInt64)),
		fields("pointer", nilValue, "by_name", fields("a", nilValue)), fields("int", raw(0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0), "float32", num(1)), raw(0xdd, 0xff, 0xff, 0xff, 0xff),
	} {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := append([]byte{}, b...)
		for _, into := range []any{
			new(any), new(everything), new(service), new([]string), new([]int), new(map[string]msgpack.Raw), new(id), new(linked), new(pointer), new(chan int),
			new(time.Duration), new(map[string]any), new([2]float32), new(error), new(selfList),
		} {
			err := msgpack.Unmarshal(b, into)
			require.Equal(t, before, b)
			if err != nil {
				known := false
				for _, want := range []error{msgpack.ErrMalformed, msgpack.ErrMismatch, msgpack.ErrRange, msgpack.ErrUnsupported, msgpack.ErrTooLarge} {
					known = known || errors.Is(err, want)
				}
				require.True(t, known, err)
				continue
			}
			out, err := msgpack.Marshal(into)
			if err != nil { // NaN, and what is deeper than a value may be
				require.Condition(t, func() bool {
					return errors.Is(err, msgpack.ErrUnsupported) || errors.Is(err, msgpack.ErrTooDeep) || errors.Is(err, msgpack.ErrMalformed) || errors.Is(err, msgpack.ErrTooLarge)
				}, err)
				continue
			}
			again := reflect.New(reflect.TypeOf(into).Elem())
			require.NoError(t, msgpack.Unmarshal(out, again.Interface()))
			twice, err := msgpack.Marshal(again.Interface())
			require.NoError(t, err)
			require.Equal(t, out, twice)
		}
	})
}
