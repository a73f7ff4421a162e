package wire

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// Opt is a field that may be absent.
type Opt[T any] struct {
	V   T
	Set bool
}

// Some returns a field that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{V: v, Set: true} }

// Or returns the field's value, or other where it is absent.
func (o Opt[T]) Or(other T) T {
	if o.Set {
		return o.V
	}
	return other
}

// fields goes through a payload's map once, field by field, without
// allocating. Damage to the MessagePack ends it at once; a field that is
// missing or mistyped is noted, and the other fields are still read.
//
//	f := readFields(TypePing, payload)
//	for f.next() {
//		switch string(f.key) {
//		case "timestamp":
//			m.Timestamp = f.int()
//		default:
//			f.skip()
//		}
//	}
//	return f.done()
type fields struct {
	typ   Type
	rest  []byte
	left  uint32
	depth int    // levels that a value may open
	key   []byte // nil where the key is no text
	first *FieldError
	err   error
}

func readFields(t Type, payload []byte) fields {
	f := fields{typ: t, depth: MaxDepth - 1}
	head, err := scan(payload)
	switch {
	case err != nil:
		f.err = err
	case head.kind != Map:
		// Broken MessagePack comes before a payload of the wrong kind.
		if n, err := walk(payload, MaxDepth, readable); err != nil {
			f.err = err
		} else if n != len(payload) {
			f.err = trailing(len(payload) - n)
		} else {
			f.err = fmt.Errorf("%w: %s is a %s", ErrNotMap, t, head.kind)
		}
	default:
		f.left = uint32(head.size / 2)
		f.rest = payload[head.head:]
	}
	return f
}

func trailing(n int) error {
	return fmt.Errorf("%w: %d bytes after the value", ErrMsgpack, n)
}

// next moves to the next field; exactly one of the reading methods must follow.
func (f *fields) next() bool {
	if f.err != nil || f.left == 0 {
		return false
	}
	f.left--
	key := f.take(readable)
	f.key, _ = key.Bytes()
	return f.err == nil
}

// take cuts the next value.
func (f *fields) take(accept func(token, []byte) error) Raw {
	if f.err != nil {
		return nil
	}
	n, err := walk(f.rest, f.depth, accept)
	if err != nil {
		f.err = fmt.Errorf("%s: %w", f.typ, err)
		return nil
	}
	value := f.rest[:n:n]
	f.rest = f.rest[n:]
	return value
}

// done returns what was wrong, if anything: damage first, then the first field.
func (f *fields) done() error {
	switch {
	case f.err != nil:
		return f.err
	case len(f.rest) > 0:
		return fmt.Errorf("%s: %w", f.typ, trailing(len(f.rest)))
	case f.first != nil:
		return f.first
	}
	return nil
}

// need notes a missing field.
func (f *fields) need(name string, there bool) {
	if !there {
		f.note(name, "", ErrMissingField)
	}
}

func (f *fields) note(name, detail string, err error) {
	if f.clean() {
		f.first = &FieldError{Type: f.typ, Field: name, Detail: detail, Err: err}
	}
}

// clean reports whether nothing is noted yet: only the first detail is worth
// its wording, and a peer may send a million of them.
func (f *fields) clean() bool { return f.first == nil && f.err == nil }

func (f *fields) mistyped(detail string) {
	if f.clean() {
		f.note(string(f.key), detail, ErrMistypedField)
	}
}

// not notes that v, unless it is nil, is no what.
func (f *fields) not(v Raw, what string) {
	if kind := v.Kind(); kind != Nil && f.clean() {
		f.mistyped(kind.String() + " instead of " + what)
	}
}

func (f *fields) skip() { f.take(readable) }

// raw takes any value, to be judged later.
func (f *fields) raw() Raw { return f.take(wellFormed) }

// bytes takes a bin or str of at most limit bytes; nil counts as absent.
func (f *fields) bytes(limit int) []byte {
	v := f.take(readable)
	if f.err != nil {
		return nil
	}
	return f.checkBytes(v, limit)
}

func (f *fields) checkBytes(v Raw, limit int) []byte {
	b, ok := v.Bytes()
	switch {
	case ok && len(b) <= limit:
		return b
	case !ok:
		f.not(v, "bin or str")
	case f.clean():
		f.mistyped(fmt.Sprintf("%d bytes, limit %d", len(b), limit))
	}
	return nil
}

func (f *fields) text(limit int) string { return string(f.bytes(limit)) }

func (f *fields) int() (i Opt[int64]) {
	v := f.take(readable)
	if f.err == nil {
		if i.V, i.Set = v.Int(); !i.Set {
			f.not(v, "an integer")
		}
	}
	return i
}

func (f *fields) bool() bool {
	v := f.take(readable)
	b, ok := v.Bool()
	if !ok && f.err == nil {
		f.not(v, "a boolean")
	}
	return b
}

// list takes an array, or the empty str that an Erlang node sends for an empty
// list, and hands each element to elem until that returns false. It reports
// whether the field is there: nil counts as absent.
func (f *fields) list(elem func(Raw) bool) bool {
	head, err := scan(f.rest)
	if err != nil || head.kind != Array {
		v := f.take(readable)
		if f.err != nil {
			return false
		}
		if b, ok := v.Bytes(); !ok || len(b) > 0 {
			f.not(v, "a list")
		}
		return v.Kind() != Nil
	}
	f.rest = f.rest[head.head:]
	f.depth-- // the array's own level
	wanted := true
	for range head.size {
		e := f.take(readable)
		if f.err != nil {
			return false
		}
		wanted = wanted && elem(e)
	}
	f.depth++
	return true
}

// texts takes a list of bin or str, each of at most MaxField bytes.
func (f *fields) texts(limit int) (texts []string) {
	for _, b := range f.byteList(limit) {
		texts = append(texts, string(b))
	}
	return texts
}

// byteList is texts without the copy. What is beyond limit elements is left.
func (f *fields) byteList(limit int) (list [][]byte) {
	f.list(func(e Raw) bool {
		b := f.checkBytes(e, MaxField)
		if b != nil {
			list = append(list, b)
		}
		return len(list) < limit
	})
	return list
}

// payload writes a message's map: the fields that are there, counted as they
// come. No message has more than 15.
type payload struct {
	b     []byte
	start int
}

func beginPayload(b []byte) payload {
	return payload{b: append(b, 0x80), start: len(b)}
}

func (p *payload) key(name string) {
	p.b[p.start]++
	p.b = appendBin(p.b, name)
}

func (p *payload) text(name, v string) { p.key(name); p.b = appendBin(p.b, v) }

func (p *payload) int(name string, v int64) { p.key(name); p.b = appendInt(p.b, v) }

// bytes writes v unless it is nil.
func (p *payload) bytes(name string, v []byte) {
	if v != nil {
		p.key(name)
		p.b = appendBin(p.b, v)
	}
}

// raw writes v unless it is empty.
func (p *payload) raw(name string, v Raw) {
	if len(v) > 0 {
		p.key(name)
		p.b = appendRaw(p.b, v)
	}
}

func (p *payload) optText(name, v string) {
	if v != "" {
		p.text(name, v)
	}
}

func (p *payload) optInt(name string, v Opt[int64]) {
	if v.Set {
		p.int(name, v.V)
	}
}

func (p *payload) bool(name string, v bool) { p.key(name); p.b = msgp.AppendBool(p.b, v) }

func (p *payload) list(name string, n int) {
	p.key(name)
	p.b = msgp.AppendArrayHeader(p.b, uint32(n))
}

func (p *payload) texts(name string, v []string) {
	p.list(name, len(v))
	for _, s := range v {
		p.b = appendBin(p.b, s)
	}
}

func (p *payload) byteList(name string, v [][]byte) {
	if len(v) > 0 {
		p.list(name, len(v))
		for _, s := range v {
			p.b = appendBin(p.b, s)
		}
	}
}
