package glass

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// field returns the value under a key that is bin; a key that is str is another
// one to an Erlang node. Of a key that is there twice the last counts.
func field(m wire.Raw, name string) (value wire.Raw, ok bool) {
	for key, v := range m.Fields() {
		if isText(key, name) {
			value, ok = v, true
		}
	}
	return value, ok
}

// isText reports whether v is the text as an Erlang node reads texts: a bin.
func isText(v wire.Raw, text string) bool {
	b, ok := v.Bytes()
	return ok && v.Kind() == wire.Bin && string(b) == text
}

// listOf returns the elements of a list: of an array, or of a str that stands
// for integers, which are of no interest.
func listOf(v wire.Raw) (elems []wire.Raw, ok bool) {
	switch v.Kind() {
	case wire.Array:
		for elem := range v.Elems() {
			elems = append(elems, elem)
		}
		return elems, true
	case wire.Text:
		text, _ := v.Bytes()
		return make([]wire.Raw, utf8.RuneCount(text)), true
	}
	return nil, false
}

// frame returns a message as it travels, however long.
func frame(t wire.Type, fields ...wire.Pair) []byte {
	payload := wire.RawMap(fields...)
	b := make([]byte, framing.HeaderSize, framing.HeaderSize+len(payload))
	b[0], b[1] = framing.Version, byte(t)
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	return append(b, payload...)
}

// boolean returns a boolean.
func boolean(v bool) wire.Raw {
	if v {
		return wire.Raw{0xc3}
	}
	return wire.Raw{0xc2}
}

// with returns a map with some of its fields replaced.
func with(m wire.Raw, fields ...wire.Pair) wire.Raw {
	var pairs []wire.Pair
	for key, value := range m.Fields() {
		if key.Kind() != wire.Bin {
			continue // nothing that travels has others
		}
		pair := wire.Pair{Key: contentOf(key), Value: value}
		if i := slices.IndexFunc(fields, func(f wire.Pair) bool { return f.Key == pair.Key }); i >= 0 {
			pair = fields[i]
			fields = slices.Delete(slices.Clone(fields), i, i+1)
		}
		pairs = append(pairs, pair)
	}
	return wire.RawMap(append(pairs, fields...)...)
}

// again returns a frame of a map that was received, as an Erlang node passes it
// on.
func again(t wire.Type, m wire.Raw) []byte {
	payload := erlangForm(m)
	b := make([]byte, framing.HeaderSize, framing.HeaderSize+len(payload))
	b[0], b[1] = framing.Version, byte(t)
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	return append(b, payload...)
}

// id16 returns 16 random bytes.
func id16() wire.Raw {
	b := make([]byte, 16)
	rand.Read(b)
	return wire.RawBytes(b)
}

// list returns a list as an Erlang node sends it: an empty one is an empty str.
func list(values []wire.Raw) wire.Raw {
	if len(values) == 0 {
		return wire.Raw{0xa0}
	}
	return wire.RawArray(values...)
}

// erlangForm returns v, which is well formed, as an Erlang node sends it that
// has read it: in the smallest form, floats in 64 bits, the last of two equal
// keys, and a list of integers that are code points as a str of them.
func erlangForm(v wire.Raw) wire.Raw { return appendForm(make([]byte, 0, len(v)), v) }

func appendForm(b []byte, v wire.Raw) []byte {
	switch v.Kind() {
	case wire.Int:
		return appendInt(b, v)
	case wire.Float:
		if f, _, err := msgp.ReadFloat32Bytes(v); err == nil {
			return msgp.AppendFloat64(b, float64(f))
		}
	case wire.Bin:
		content, _ := v.Bytes()
		return msgp.AppendBytes(b, content)
	case wire.Text:
		content, _ := v.Bytes()
		return msgp.AppendStringFromBytes(b, content)
	case wire.Array:
		return appendList(b, v)
	case wire.Map:
		return appendMap(b, v)
	}
	return append(b, v...)
}

func appendInt(b []byte, v wire.Raw) []byte {
	if u, _, err := msgp.ReadUint64Bytes(v); err == nil {
		return msgp.AppendUint64(b, u)
	}
	i, _ := v.Int()
	return msgp.AppendInt64(b, i)
}

func appendList(b []byte, v wire.Raw) []byte {
	var elems []wire.Raw
	var text []byte
	isText := true
	for elem := range v.Elems() {
		elems = append(elems, elem)
		i, isInt := elem.Int()
		if isText = isText && isInt && i >= 0 && i <= math.MaxInt32 && utf8.ValidRune(rune(i)); isText {
			text = utf8.AppendRune(text, rune(i))
		}
	}
	if isText {
		return msgp.AppendStringFromBytes(b, text)
	}
	b = msgp.AppendArrayHeader(b, uint32(len(elems)))
	for _, elem := range elems {
		b = appendForm(b, elem)
	}
	return b
}

func appendMap(b []byte, v wire.Raw) []byte {
	type pair struct{ key, value wire.Raw }
	var pairs []pair
	at := make(map[string]int)
	for key, value := range v.Fields() {
		key = erlangForm(key)
		if i, twice := at[string(key)]; twice {
			pairs[i].value = value
			continue
		}
		at[string(key)] = len(pairs)
		pairs = append(pairs, pair{key, value})
	}
	b = msgp.AppendMapHeader(b, uint32(len(pairs)))
	for _, p := range pairs {
		b = appendForm(append(b, p.key...), p.value)
	}
	return b
}
