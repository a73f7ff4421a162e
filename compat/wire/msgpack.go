package wire

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Kind is what a MessagePack value is.
type Kind uint8

// The kinds of the dialect. Text is a str: an Erlang node sends one only for an
// empty list or a list of code points.
const (
	Invalid Kind = iota
	Nil
	Bool
	Int
	Float
	Bin
	Text
	Array
	Map
	Ext
)

var kindNames = [...]string{"invalid", "nil", "bool", "int", "float", "bin", "str", "array", "map", "ext"}

func (k Kind) String() string { return kindNames[k] }

// token is the head of one MessagePack value.
type token struct {
	kind Kind
	head int    // bytes before the content
	size uint64 // bytes of content; for Array and Map how many values are inside
}

func (t token) container() bool { return t.kind == Array || t.kind == Map }

// scan reads the head of the value at the front of b. The content, where it is
// bytes, is all there.
func scan(b []byte) (token, error) {
	if len(b) == 0 {
		return token{}, fmt.Errorf("%w: ends too early", ErrMsgpack)
	}
	c := b[0]
	var t token
	switch {
	case c <= 0x7f || c >= 0xe0: // fixint
		t = token{Int, 1, 0}
	case c <= 0x8f:
		t = token{Map, 1, 2 * uint64(c&0x0f)}
	case c <= 0x9f:
		t = token{Array, 1, uint64(c & 0x0f)}
	case c <= 0xbf:
		t = token{Text, 1, uint64(c & 0x1f)}
	default:
		t = heads[c-0xc0]
		if t.kind == Invalid {
			return token{}, fmt.Errorf("%w: byte 0x%02x begins no value", ErrMsgpack, c)
		}
		if width := t.head - 1; width > 0 { // the size is given in that many bytes
			if len(b) < t.head {
				return token{}, fmt.Errorf("%w: ends too early", ErrMsgpack)
			}
			n := bigEndian(b[1:t.head])
			switch t.kind {
			case Map:
				t.size = 2 * n
			case Ext:
				t.size = n + 1 // the ext type
			default:
				t.size = n
			}
		}
	}
	if !t.container() && uint64(len(b)-t.head) < t.size {
		return token{}, fmt.Errorf("%w: ends within a %s of %d bytes", ErrMsgpack, t.kind, t.size)
	}
	return t, nil
}

// heads describes the bytes c0 to df; where head is more than one byte the size
// is read from what is behind the first.
var heads = [32]token{
	{Nil, 1, 0}, {}, {Bool, 1, 0}, {Bool, 1, 0},
	{Bin, 2, 0}, {Bin, 3, 0}, {Bin, 5, 0},
	{Ext, 2, 0}, {Ext, 3, 0}, {Ext, 5, 0},
	{Float, 1, 4}, {Float, 1, 8},
	{Int, 1, 1}, {Int, 1, 2}, {Int, 1, 4}, {Int, 1, 8},
	{Int, 1, 1}, {Int, 1, 2}, {Int, 1, 4}, {Int, 1, 8},
	{Ext, 1, 2}, {Ext, 1, 3}, {Ext, 1, 5}, {Ext, 1, 9}, {Ext, 1, 17},
	{Text, 2, 0}, {Text, 3, 0}, {Text, 5, 0},
	{Array, 3, 0}, {Array, 5, 0},
	{Map, 3, 0}, {Map, 5, 0},
}

func bigEndian(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	default:
		return uint64(binary.BigEndian.Uint32(b))
	}
}

// walk visits the tokens of the one value at the front of b, depth first, and
// returns the value's length. It keeps its own stack, so that a peer can not
// choose ours; depth is how many more levels may be opened.
func walk(b []byte, depth int, visit func(t token, bytes []byte) error) (int, error) {
	var open [MaxDepth]uint64 // values still to come, per level
	level, pos := 0, 0
	for left := uint64(1); ; {
		t, err := scan(b[pos:])
		if err != nil {
			return 0, err
		}
		from := pos
		pos += t.head
		if !t.container() {
			pos += int(t.size)
		}
		if err := visit(t, b[from:pos]); err != nil {
			return 0, err
		}
		left--
		if t.container() {
			if level == depth {
				return 0, fmt.Errorf("%w: nested too deep", ErrMsgpack)
			}
			open[level] = left
			level++
			left = t.size
		}
		for left == 0 {
			if level == 0 {
				return pos, nil
			}
			level--
			left = open[level]
		}
	}
}

// wellFormed takes any value that is one; it is for values that are judged
// later by a stricter rule.
func wellFormed(token, []byte) error { return nil }

// readable refuses what an Erlang node refuses anywhere in a frame.
func readable(t token, b []byte) error {
	switch {
	case t.kind == Ext:
		return fmt.Errorf("%w: ext types are not part of the dialect", ErrMsgpack)
	case t.kind == Text && !utf8.Valid(b[t.head:]):
		return fmt.Errorf("%w: a str that is not UTF-8", ErrMsgpack)
	}
	return nil
}

// Raw is one encoded MessagePack value. The accessors read it by type and
// report whether it is of that type; they share its memory.
type Raw []byte

// Kind returns what r is.
func (r Raw) Kind() Kind {
	t, err := scan(r)
	if err != nil {
		return Invalid
	}
	return t.kind
}

// Bytes returns the content of a bin or str.
func (r Raw) Bytes() ([]byte, bool) {
	t, err := scan(r)
	if err != nil || t.kind != Bin && t.kind != Text {
		return nil, false
	}
	end := t.head + int(t.size)
	return r[t.head:end:end], true
}

// Int returns an integer. One above the int64 range is math.MaxInt64.
func (r Raw) Int() (int64, bool) {
	if r.Kind() != Int {
		return 0, false
	}
	if r[0] == 0xcf {
		u := binary.BigEndian.Uint64(r[1:])
		return int64(min(u, math.MaxInt64)), true
	}
	i, _, err := msgp.ReadInt64Bytes(r)
	return i, err == nil
}

// Whole returns an integer, also one that came as a float: a JavaScript peer
// writes Date.now() so. A float with a fraction or beyond the int64 range is none.
func (r Raw) Whole() (int64, bool) {
	if r.Kind() != Float {
		return r.Int()
	}
	f, err := r.float()
	if err != nil || f != math.Trunc(f) || f < -1<<63 || f >= 1<<63 {
		return 0, false
	}
	return int64(f), true
}

// Bool returns a boolean.
func (r Raw) Bool() (value, ok bool) {
	if r.Kind() != Bool {
		return false, false
	}
	return r[0] == 0xc3, true
}

// Field returns the value of a map's field; of a key that is there twice the
// last counts, as in the reference.
func (r Raw) Field(name string) (value Raw, ok bool) {
	for key, v := range r.Fields() {
		if k, isText := key.Bytes(); isText && string(k) == name {
			value, ok = v, true
		}
	}
	return value, ok
}

// Fields yields the keys and values of a map, in their order; of anything else
// nothing, and of a damaged map what comes before the damage.
func (r Raw) Fields() iter.Seq2[Raw, Raw] {
	return func(yield func(Raw, Raw) bool) {
		t, err := scan(r)
		if err != nil || t.kind != Map {
			return
		}
		rest := r[t.head:]
		for range t.size / 2 {
			key, tail, err := cut(rest)
			if err != nil {
				return
			}
			value, tail, err := cut(tail)
			if err != nil || !yield(key, value) {
				return
			}
			rest = tail
		}
	}
}

// Elems yields the elements of an array, in their order. The empty str, which
// is how an Erlang node writes an empty list, has none.
func (r Raw) Elems() iter.Seq[Raw] {
	return func(yield func(Raw) bool) {
		t, err := scan(r)
		if err != nil || t.kind != Array {
			return
		}
		rest := r[t.head:]
		for range t.size {
			elem, tail, err := cut(rest)
			if err != nil || !yield(elem) {
				return
			}
			rest = tail
		}
	}
}

// Ints returns a list of integers as [Raw.Whole] takes them, also where it was
// sent as a str of code points, as an Erlang node does with a list of small ones.
func (r Raw) Ints() ([]int64, bool) { return r.ints(math.MaxInt) }

// ints reads the first limit integers.
func (r Raw) ints(limit int) (ints []int64, ok bool) {
	switch r.Kind() {
	case Text:
		text, _ := r.Bytes()
		if !utf8.Valid(text) {
			return nil, false
		}
		for len(text) > 0 && len(ints) < limit {
			point, size := utf8.DecodeRune(text)
			ints, text = append(ints, int64(point)), text[size:]
		}
		return ints, true
	case Array:
		for elem := range r.Elems() {
			i, ok := elem.Whole()
			if !ok {
				return nil, false
			}
			if len(ints) < limit {
				ints = append(ints, i)
			}
		}
		return ints, true
	}
	return nil, false
}

// cut splits the value at the front of b from what follows it.
func cut(b []byte) (value Raw, rest []byte, err error) {
	n, err := walk(b, MaxDepth, wellFormed)
	if err != nil {
		return nil, nil, err
	}
	return Raw(b[:n:n]), b[n:], nil
}

// appendBin appends a key, a text or bytes as bin, the only form that an Erlang
// node reads as text.
func appendBin[T string | []byte](b []byte, v T) []byte {
	switch n := len(v); {
	case n <= math.MaxUint8:
		b = append(b, 0xc4, byte(n))
	case n <= math.MaxUint16:
		b = append(b, 0xc5, byte(n>>8), byte(n))
	default:
		b = append(b, 0xc6, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, v...)
}

// appendInt appends i in its smallest form.
func appendInt(b []byte, i int64) []byte {
	if i >= 0 {
		return msgp.AppendUint64(b, uint64(i))
	}
	return msgp.AppendInt64(b, i)
}

// RawText returns text as a bin.
func RawText(text string) Raw { return appendBin(nil, text) }

// RawBytes returns b as a bin.
func RawBytes(b []byte) Raw { return appendBin(nil, b) }

// RawInt returns i as an integer in its smallest form.
func RawInt(i int64) Raw { return appendInt(nil, i) }

// appendRaw appends v as an element or a field; an empty Raw, which would break
// what it is put into, as nil.
func appendRaw(b []byte, v Raw) []byte {
	if len(v) == 0 {
		return msgp.AppendNil(b)
	}
	return append(b, v...)
}

// RawMap returns a map of the pairs, in their order. An empty Raw is nil.
func RawMap(pairs ...Pair) Raw {
	b := msgp.AppendMapHeader(nil, uint32(len(pairs)))
	for _, p := range pairs {
		b = appendRaw(appendBin(b, p.Key), p.Value)
	}
	return b
}

// Pair is a field of a map.
type Pair struct {
	Key   string
	Value Raw
}

// RawArray returns an array of the values. An empty Raw is nil.
func RawArray(values ...Raw) Raw {
	b := msgp.AppendArrayHeader(nil, uint32(len(values)))
	for _, v := range values {
		b = appendRaw(b, v)
	}
	return b
}
