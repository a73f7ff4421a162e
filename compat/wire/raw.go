package wire

import (
	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Opt is a field that may be absent: V where Set. Its method Or(other) returns V,
// or other where it is absent.
type Opt[T any] = fields.Opt[T]

// Some returns a field that is there.
func Some[T any](v T) Opt[T] { return fields.Some(v) }

// The values within messages are MessagePack in Macula's dialect, which is read
// and written by package msgpack. These are its names, as they are in every
// message.
type (
	// Raw is one encoded value.
	Raw = msgpack.Raw
	// Pair is a field of a map.
	Pair = msgpack.Pair
	// Kind is what a value is.
	Kind = msgpack.Kind
)

// The kinds of values. Text is a str: an Erlang node sends one only for an empty
// list or a list of code points.
const (
	Invalid = msgpack.Invalid
	Nil     = msgpack.Nil
	Bool    = msgpack.Bool
	Int     = msgpack.Int
	Float   = msgpack.Float
	Bin     = msgpack.Bin
	Text    = msgpack.Text
	Array   = msgpack.Array
	Map     = msgpack.Map
	Ext     = msgpack.Ext
)

// RawText returns text as a bin.
func RawText(text string) Raw { return msgpack.RawText(text) }

// RawBytes returns b as a bin.
func RawBytes(b []byte) Raw { return msgpack.RawBytes(b) }

// RawInt returns i as an integer in its smallest form.
func RawInt(i int64) Raw { return msgpack.RawInt(i) }

// RawMap returns a map of the pairs, in their order. An empty Raw is nil.
func RawMap(pairs ...Pair) Raw { return msgpack.RawMap(pairs...) }

// RawArray returns an array of the values. An empty Raw is nil.
func RawArray(values ...Raw) Raw { return msgpack.RawArray(values...) }

// FromJSON reads one JSON value, see [msgpack.FromJSON].
func FromJSON(text []byte) (Raw, error) { return msgpack.FromJSON(text) }

// TextsAsBin returns v with every str rewritten as bin, see [msgpack.TextsAsBin].
func TextsAsBin(v Raw) (Raw, error) { return msgpack.TextsAsBin(v) }

// Marshal returns a Go value in the dialect, see [msgpack.Marshal]: strings and
// []byte as bin, structs as maps by their `macula:"name,omitempty"` tags. A
// struct or map with what a value holds is ready for values.Parse.
func Marshal(v any) (Raw, error) { return msgpack.Marshal(v) }

// Unmarshal reads a value into what a pointer leads to, see [msgpack.Unmarshal].
// Its error names where in the value it is, as "metadata.tags[2]".
func Unmarshal(raw Raw, into any) error { return msgpack.Unmarshal(raw, into) }
