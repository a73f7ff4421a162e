package wire

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
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

// codec writes or reads the fields of a message, which names each once:
//
//	func (m *Cast) fields(c *codec) {
//		c.text("procedure", &m.Procedure, MaxField, always|required)
//		c.raw("args", &m.Args, optional)
//	}
//
// To write, fields is called once. To read, it is called in passes: a pass takes
// the fields that come in its order, the next pass what is left, and a last one
// notes what is missing, if anything may be. So a payload in our own order takes
// one pass, and nothing is allocated:
//
//	c := decode(TypeCast, payload)
//	for c.pass() {
//		m.fields(&c)
//	}
//	return c.done()
//
// Damage to the MessagePack ends it at once; a field that is missing or mistyped
// is noted, and the other fields are still read.
type codec struct {
	b     []byte // what is written so far, or not yet read
	begin int    // where the map starts that is being written

	key    []byte // of the field that comes; nil where there is none or it is no text
	left   uint32 // fields behind that one
	phase  phase
	passed bool // a pass began with this key: if nothing took it, it is unknown
	lacks  bool // a field was missing when its turn came
	typ    Type
	lax    bool // what an unknown field holds is nobody's concern
	depth  int  // levels that a value may open
	first  *FieldError
	err    error

	// Whether these came, which may be empty where they may not be absent.
	realm, hit, listed bool
}

type phase uint8

const (
	writing phase = iota
	reading
	drained  // all is read, and this pass goes on to its end
	checking // whether something is missing
)

// rule says when a field is written, and whether a message may come without it.
type rule uint8

const (
	optional rule = 0         // written unless it is empty
	always   rule = 1 << iota // written also where it is empty
	required                  // absent or empty it is missing
)

// when reports whether to visit a field that is written only for a reason; it is
// read in any case.
func (c *codec) when(reason bool) bool { return reason || c.phase != writing }

// encode begins a map behind b. No message has more than 15 fields.
func encode(b []byte) codec {
	return codec{b: append(b, 0x80), begin: len(b)}
}

// open begins a map within the one that is being written; what it returns is to
// be put back into begin after its end.
func (c *codec) open() (outer int) {
	outer, c.begin = c.begin, len(c.b)
	c.b = append(c.b, 0x80)
	return outer
}

// decode begins to read a payload.
func decode(t Type, payload []byte) codec {
	c := codec{phase: reading, typ: t, depth: MaxDepth - 1}
	head, err := msgpack.Scan(payload)
	switch {
	case err != nil:
		c.err = err
	case head.Kind != Map:
		// Broken MessagePack comes before a payload of the wrong kind.
		if c.err = Raw(payload).Check(MaxDepth); c.err == nil {
			c.err = fmt.Errorf("%w: %s is a %s", ErrNotMap, t, head.Kind)
		}
	default:
		c.left = uint32(head.Size / 2)
		c.lacks = c.left == 0
		c.b = payload[head.Head:]
		c.next()
	}
	return c
}

// pass reports whether the message's fields are to be visited once more.
func (c *codec) pass() bool {
	if c.passed {
		c.skip()
		c.next()
	}
	switch {
	case c.err != nil || c.phase == checking:
		return false
	case c.phase == drained && !c.lacks:
		return false
	case c.phase == drained:
		c.phase = checking
	default:
		c.passed = true
	}
	return true
}

// next moves to the next field, after the value of the last was taken.
func (c *codec) next() {
	c.key, c.passed = nil, false
	if c.err != nil {
		return
	}
	if c.left == 0 {
		c.phase = drained
		return
	}
	c.left--
	t, key := c.take(false)
	if t.Text() {
		c.key = key[t.Head:]
	}
}

// take cuts the next value and returns its head too. In a lax one ext types and
// invalid UTF-8 are passed over: it is judged later by a stricter rule.
func (c *codec) take(lax bool) (msgpack.Token, Raw) {
	if c.err != nil {
		return msgpack.Token{}, nil
	}
	t, n, err := msgpack.Next(c.b, c.depth, lax)
	if err != nil {
		c.err = fmt.Errorf("%s: %w", c.typ, err)
		return msgpack.Token{}, nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return t, v
}

// done returns what was wrong, if anything: damage first, then the first field.
func (c *codec) done() error {
	switch {
	case c.err != nil:
		return c.err
	case len(c.b) > 0:
		return fmt.Errorf("%s: %w: %d bytes after the value", c.typ, ErrMsgpack, len(c.b))
	case c.first != nil:
		return c.first
	}
	return nil
}

// need says whether a field that must be there is, as far as is read by now. One
// that still is not at the end is noted.
func (c *codec) need(name string, there bool) {
	switch {
	case there:
	case c.phase == checking:
		c.note(name, "", ErrMissingField)
	default:
		c.lacks = true
	}
}

func (c *codec) note(name, detail string, err error) {
	if c.clean() {
		c.first = &FieldError{Type: c.typ, Field: name, Detail: detail, Err: err}
	}
}

// clean reports whether nothing is noted yet: only the first detail is worth
// its wording, and a peer may send a million of them.
func (c *codec) clean() bool { return c.first == nil && c.err == nil }

func (c *codec) mistyped(detail string) {
	if c.clean() {
		c.note(string(c.key), detail, ErrMistypedField)
	}
}

// not notes that a value, unless it is nil, is no what.
func (c *codec) not(kind Kind, what string) {
	if kind != Nil && c.clean() {
		c.mistyped(kind.String() + " instead of " + what)
	}
}

func (c *codec) skip() { c.take(c.lax) }

// at reports whether the named field is the one to be read now.
func (c *codec) at(name string) bool { return string(c.key) == name }

// named begins a field that is written: its value is to be appended.
func (c *codec) named(name string) []byte {
	c.b[c.begin]++
	return append(append(c.b, 0xc4, byte(len(name))), name...) // a short bin
}

// constant is a field that is written and not read.
func (c *codec) constant(name, v string) {
	switch {
	case c.phase == writing:
		c.b = msgpack.AppendBin(c.named(name), v)
	case c.at(name):
		c.skip()
		c.next()
	}
}

// bytes is a bin or str of at most limit bytes. Empty is nil; nil counts as
// absent.
func (c *codec) bytes(name string, v *[]byte, limit int, r rule) {
	if *v != nil || c.phase != writing {
		c.codeBytes(name, v, limit, r)
	}
}

// codeBytes is apart so that bytes, like some others, is inlined: a field that is
// not to be written then costs no call.
func (c *codec) codeBytes(name string, v *[]byte, limit int, r rule) {
	if c.phase == writing {
		c.b = msgpack.AppendBin(c.named(name), *v)
		return
	}
	if c.at(name) {
		*v = c.takeBytes(limit)
		c.next()
	}
	if r&required != 0 {
		c.need(name, *v != nil)
	}
}

// text is bytes as a string, which is copied.
func (c *codec) text(name string, v *string, limit int, r rule) {
	if *v != "" || r != optional || c.phase != writing {
		c.codeText(name, v, limit, r)
	}
}

func (c *codec) codeText(name string, v *string, limit int, r rule) {
	if c.phase == writing {
		c.b = msgpack.AppendBin(c.named(name), *v)
		return
	}
	if c.at(name) {
		*v = string(c.takeBytes(limit))
		c.next()
	}
	if r&required != 0 {
		c.need(name, *v != "")
	}
}

// textThere is a text that may be empty and must not be absent.
func (c *codec) textThere(name string, v *string, limit int, there *bool) {
	if c.phase == writing {
		c.b = msgpack.AppendBin(c.named(name), *v)
		return
	}
	if c.at(name) {
		b := c.takeBytes(limit)
		*v, *there = string(b), b != nil
		c.next()
	}
	c.need(name, *there)
}

// raw is any value, to be judged later; nil is one too. It is written unless it
// is empty.
func (c *codec) raw(name string, v *Raw, r rule) {
	if c.phase == writing {
		if len(*v) > 0 {
			c.b = append(c.named(name), *v...)
		}
		return
	}
	if c.at(name) {
		_, *v = c.take(true)
		c.next()
	}
	if r&required != 0 {
		c.need(name, *v != nil)
	}
}

// int is an integer that is always written.
func (c *codec) int(name string, v *int64) {
	switch {
	case c.phase == writing:
		c.b = msgpack.AppendInt(c.named(name), *v)
	case c.at(name):
		*v = c.takeInt().V
		c.next()
	}
}

// optInt is an integer that is written if it is set.
func (c *codec) optInt(name string, v *Opt[int64]) {
	if v.Set || c.phase != writing {
		c.codeOptInt(name, v)
	}
}

func (c *codec) codeOptInt(name string, v *Opt[int64]) {
	switch {
	case c.phase == writing:
		c.b = msgpack.AppendInt(c.named(name), v.V)
	case c.at(name):
		*v = c.takeInt()
		c.next()
	}
}

func (c *codec) bool(name string, v *bool) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendBool(c.named(name), *v)
	case c.at(name):
		t, value := c.take(false)
		var ok bool
		if *v, ok = value.Bool(); !ok && c.err == nil {
			c.not(t.Kind, "a boolean")
		}
		c.next()
	}
}

// texts is a list of bin or str, each of at most MaxField bytes. What is beyond
// limit elements is not read.
func (c *codec) texts(name string, v *[]string, limit int) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
		for _, s := range *v {
			c.b = msgpack.AppendBin(c.b, s)
		}
	case c.at(name):
		*v = nil
		c.takeList(func(t msgpack.Token, e Raw) bool {
			if b := c.checkBytes(t, e, MaxField); b != nil {
				*v = append(*v, string(b))
			}
			return len(*v) < limit
		})
		c.next()
	}
}

// byteList is texts without the copy, and written unless it is empty.
func (c *codec) byteList(name string, v *[][]byte, limit int) {
	if len(*v) > 0 || c.phase != writing {
		c.codeByteList(name, v, limit)
	}
}

func (c *codec) codeByteList(name string, v *[][]byte, limit int) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
		for _, s := range *v {
			c.b = msgpack.AppendBin(c.b, s)
		}
	case c.at(name):
		*v = nil
		c.takeList(func(t msgpack.Token, e Raw) bool {
			if b := c.checkBytes(t, e, MaxField); b != nil {
				*v = append(*v, b)
			}
			return len(*v) < limit
		})
		c.next()
	}
}

// ints is a list of integers, written unless it is empty. What is beyond limit
// is not read.
func (c *codec) ints(name string, v *[]int64, limit int) {
	switch {
	case c.phase == writing:
		if len(*v) > 0 {
			c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
			for _, i := range *v {
				c.b = msgpack.AppendInt(c.b, i)
			}
		}
	case c.at(name):
		t, value := c.take(false)
		var ok bool
		if *v, ok = value.IntsUpTo(limit); !ok && c.err == nil {
			c.not(t.Kind, "a list of integers")
		}
		c.next()
	}
}

// raws is a list of any values; there is told whether it came. What is beyond
// limit is not read.
func (c *codec) raws(name string, v *[]Raw, limit int, there *bool) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
		for _, e := range *v {
			c.b = msgpack.AppendRaw(c.b, e)
		}
	case c.at(name):
		*v = nil
		*there = c.takeList(func(_ msgpack.Token, e Raw) bool {
			*v = append(*v, e)
			return len(*v) < limit
		})
		c.next()
	}
}

func (c *codec) takeBytes(limit int) []byte {
	t, v := c.take(false)
	if c.err != nil {
		return nil
	}
	return c.checkBytes(t, v, limit)
}

func (c *codec) checkBytes(t msgpack.Token, v Raw, limit int) []byte {
	switch {
	case !t.Text():
		c.not(t.Kind, "bin or str")
	case len(v)-t.Head <= limit:
		return v[t.Head:]
	case c.clean():
		c.mistyped(fmt.Sprintf("%d bytes, limit %d", len(v)-t.Head, limit))
	}
	return nil
}

func (c *codec) takeInt() (i Opt[int64]) {
	t, v := c.take(false)
	if c.err == nil {
		if i.V, i.Set = t.Whole(v); !i.Set {
			c.not(t.Kind, "an integer")
		}
	}
	return i
}

// takeList takes an array, or the empty str that an Erlang node sends for an
// empty list, and hands each element to elem until that returns false. It
// reports whether the field is there: nil counts as absent.
func (c *codec) takeList(elem func(msgpack.Token, Raw) bool) bool {
	head, err := msgpack.Scan(c.b)
	if err != nil || head.Kind != Array {
		t, v := c.take(false)
		if c.err != nil {
			return false
		}
		if !t.Text() || len(v) > t.Head {
			c.not(t.Kind, "a list")
		}
		return t.Kind != Nil
	}
	c.b = c.b[head.Head:]
	c.depth-- // the array's own level
	wanted := true
	for range head.Size {
		t, e := c.take(false)
		if c.err != nil {
			return false
		}
		wanted = wanted && elem(t, e)
	}
	c.depth++
	return true
}
