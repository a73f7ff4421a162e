// Package msgpack reads and writes the MessagePack dialect of Erlang macula
// nodes. It differs from plain MessagePack in what a text is: an Erlang node
// takes a str for a list of code points, which equals no text that it knows. So
// every key and every text is written as bin, and read from bin and str; the
// empty str is an empty list, and a str where integers are expected is a list of
// them (docs/PROTOCOL.md, frames; docs/WIRE.md). Ext types are not part of it.
//
// Everything is read in place: a [Raw] is a piece of the bytes that came, and no
// count that a peer writes is believed before its elements are there.
package msgpack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

const (
	// MaxDepth is how many maps and arrays may be nested in a payload, the
	// payload's own map included.
	MaxDepth = 16
	// MaxValueDepth is how many a stored value may nest: two fewer, as the reply
	// that carries it adds two.
	MaxValueDepth = MaxDepth - 2
)

// ErrMalformed: the bytes are not exactly one well-formed value of at most so
// many levels, without ext types and without invalid UTF-8 in a str.
var ErrMalformed = errors.New("bad MessagePack")

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

// Token is the head of one value.
type Token struct {
	Kind Kind
	Head int    // bytes before the content
	Size uint64 // bytes of content; for Array and Map how many values are inside
}

// Text reports whether the value is one that a text may be: bin or str.
func (t Token) Text() bool { return t.Kind == Bin || t.Kind == Text }

func (t Token) container() bool { return t.Kind == Array || t.Kind == Map }

// Next reads the head of the value at the front of b, and returns it with the
// value's length. depth is how many more levels may be opened. Where it is lax,
// ext types and invalid UTF-8 pass: for a value that is judged later.
func Next(b []byte, depth int, lax bool) (t Token, length int, err error) {
	t, err = Scan(b)
	length = t.Head + int(t.Size)
	switch {
	case err != nil:
		return Token{}, 0, err
	case t.container():
		length, err = walk(b, depth, lax, nil)
	case !lax:
		err = readable(t, b[:length])
	}
	return t, length, err
}

// Check reports whether r is exactly one value that may be read, of at most that
// many levels: else the error is an ErrMalformed.
func (r Raw) Check(depth int) error {
	n, err := walk(r, depth, false, nil)
	if err == nil && n != len(r) {
		err = trailing(len(r) - n)
	}
	return err
}

func trailing(n int) error {
	return fmt.Errorf("%w: %d bytes after the value", ErrMalformed, n)
}

// Scan reads the head of the value at the front of b. The content, where it is
// bytes, is all there.
func Scan(b []byte) (Token, error) {
	if len(b) == 0 {
		return Token{}, fmt.Errorf("%w: ends too early", ErrMalformed)
	}
	c := b[0]
	var t Token
	switch {
	case c <= 0x7f || c >= 0xe0: // fixint
		t = Token{Int, 1, 0}
	case c <= 0x8f:
		t = Token{Map, 1, 2 * uint64(c&0x0f)}
	case c <= 0x9f:
		t = Token{Array, 1, uint64(c & 0x0f)}
	case c <= 0xbf:
		t = Token{Text, 1, uint64(c & 0x1f)}
	default:
		t = heads[c-0xc0]
		if t.Kind == Invalid {
			return Token{}, fmt.Errorf("%w: byte 0x%02x begins no value", ErrMalformed, c)
		}
		if width := t.Head - 1; width > 0 { // the size is given in that many bytes
			if len(b) < t.Head {
				return Token{}, fmt.Errorf("%w: ends too early", ErrMalformed)
			}
			n := bigEndian(b[1:t.Head])
			switch t.Kind {
			case Map:
				t.Size = 2 * n
			case Ext:
				t.Size = n + 1 // the ext type
			default:
				t.Size = n
			}
		}
	}
	if !t.container() && uint64(len(b)-t.Head) < t.Size {
		return Token{}, fmt.Errorf("%w: ends within a %s of %d bytes", ErrMalformed, t.Kind, t.Size)
	}
	return t, nil
}

// heads describes the bytes c0 to df; where head is more than one byte the size
// is read from what is behind the first.
var heads = [32]Token{
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
func walk(b []byte, depth int, lax bool, visit func(t Token, bytes []byte) error) (int, error) {
	var open [MaxDepth]uint64 // values still to come, per level
	level, pos := 0, 0
	for left := uint64(1); ; {
		t, err := Scan(b[pos:])
		if err != nil {
			return 0, err
		}
		from := pos
		pos += t.Head
		if !t.container() {
			pos += int(t.Size)
		}
		if !lax {
			if err := readable(t, b[from:pos]); err != nil {
				return 0, err
			}
		}
		if visit != nil {
			if err := visit(t, b[from:pos]); err != nil {
				return 0, err
			}
		}
		left--
		if t.container() {
			if level == depth {
				return 0, fmt.Errorf("%w: nested too deep", ErrMalformed)
			}
			open[level] = left
			level++
			left = t.Size
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

// readable refuses what an Erlang node refuses anywhere in a frame.
func readable(t Token, b []byte) error {
	if t.Kind == Text && !utf8.Valid(b[t.Head:]) || t.Kind == Ext {
		return unreadable(t)
	}
	return nil
}

func unreadable(t Token) error {
	if t.Kind == Ext {
		return fmt.Errorf("%w: ext types are not part of the dialect", ErrMalformed)
	}
	return fmt.Errorf("%w: a str that is not UTF-8", ErrMalformed)
}

// Raw is one encoded MessagePack value. The accessors read it by type and
// report whether it is of that type; they share its memory.
type Raw []byte

// Kind returns what r is.
func (r Raw) Kind() Kind {
	t, err := Scan(r)
	if err != nil {
		return Invalid
	}
	return t.Kind
}

// Bytes returns the content of a bin or str.
func (r Raw) Bytes() ([]byte, bool) {
	t, err := Scan(r)
	if err != nil || t.Kind != Bin && t.Kind != Text {
		return nil, false
	}
	end := t.Head + int(t.Size)
	return r[t.Head:end:end], true
}

// Int returns an integer. One above the int64 range is math.MaxInt64.
func (r Raw) Int() (int64, bool) {
	if r.Kind() != Int {
		return 0, false
	}
	return r.int(), true
}

// Whole returns an integer, also one that came as a float: a JavaScript peer
// writes Date.now() so. A float with a fraction or beyond the int64 range is none.
func (r Raw) Whole() (int64, bool) {
	t, err := Scan(r)
	if err != nil {
		return 0, false
	}
	return t.Whole(r)
}

// Whole is [Raw.Whole] of the value that t is the head of.
func (t Token) Whole(v Raw) (int64, bool) {
	switch t.Kind {
	case Int:
		return v.int(), true
	case Float:
		f := v.float()
		if f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 {
			return int64(f), true
		}
	}
	return 0, false
}

// int reads what Kind says is an Int, and so is all there.
func (r Raw) int() int64 {
	switch c := r[0]; c {
	case 0xcf:
		return int64(min(r.uint(), math.MaxInt64))
	case 0xce:
		return int64(binary.BigEndian.Uint32(r[1:]))
	case 0xcd:
		return int64(binary.BigEndian.Uint16(r[1:]))
	case 0xcc:
		return int64(r[1])
	case 0xd3:
		return int64(binary.BigEndian.Uint64(r[1:]))
	case 0xd2:
		return int64(int32(binary.BigEndian.Uint32(r[1:])))
	case 0xd1:
		return int64(int16(binary.BigEndian.Uint16(r[1:])))
	case 0xd0:
		return int64(int8(r[1]))
	default: // a fixint
		return int64(int8(c))
	}
}

// uint reads what begins with 0xcf, and so may be above the int64 range.
func (r Raw) uint() uint64 { return binary.BigEndian.Uint64(r[1:]) }

// float reads what Kind says is a Float, and so is all there.
func (r Raw) float() float64 {
	if r[0] == 0xca {
		return float64(math.Float32frombits(binary.BigEndian.Uint32(r[1:])))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(r[1:]))
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
		t, err := Scan(r)
		if err != nil || t.Kind != Map {
			return
		}
		rest := r[t.Head:]
		for range t.Size / 2 {
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
		t, err := Scan(r)
		if err != nil || t.Kind != Array {
			return
		}
		rest := r[t.Head:]
		for range t.Size {
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
func (r Raw) Ints() ([]int64, bool) { return r.AppendInts(nil, math.MaxInt) }

// AppendInts appends to ints what Ints returns, until they are limit.
func (r Raw) AppendInts(ints []int64, limit int) ([]int64, bool) {
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
	_, n, err := Next(b, MaxDepth, true)
	if err != nil {
		return nil, nil, err
	}
	return Raw(b[:n:n]), b[n:], nil
}

// AppendBin appends a key, a text or bytes as bin, the only form that an Erlang
// node reads as text.
func AppendBin[T string | []byte](b []byte, v T) []byte {
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

// AppendInt appends i in its smallest form.
func AppendInt(b []byte, i int64) []byte {
	if i >= 0 {
		return msgp.AppendUint64(b, uint64(i))
	}
	return msgp.AppendInt64(b, i)
}

// RawText returns text as a bin.
func RawText(text string) Raw { return AppendBin(nil, text) }

// RawBytes returns b as a bin.
func RawBytes(b []byte) Raw { return AppendBin(nil, b) }

// RawInt returns i as an integer in its smallest form.
func RawInt(i int64) Raw { return AppendInt(nil, i) }

// AppendRaw appends v as an element or a field; an empty Raw, which would break
// what it is put into, as nil.
func AppendRaw(b []byte, v Raw) []byte {
	if len(v) == 0 {
		return msgp.AppendNil(b)
	}
	return append(b, v...)
}

// RawMap returns a map of the pairs, in their order. An empty Raw is nil.
func RawMap(pairs ...Pair) Raw {
	b := msgp.AppendMapHeader(nil, uint32(len(pairs)))
	for _, p := range pairs {
		b = AppendRaw(AppendBin(b, p.Key), p.Value)
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
		b = AppendRaw(b, v)
	}
	return b
}
