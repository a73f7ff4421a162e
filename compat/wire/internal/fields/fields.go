// Package fields writes and reads the fields of a message, a MessagePack map with
// bin keys. A message names each of its fields once, in one function that both
// directions go by (see [Codec]). The package knows no message: which fields there
// are, and what they mean, is for package wire to say.
package fields

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// MaxField is the longest text in a list of them, in bytes, and what most fields
// are limited to.
const MaxField = 255

var (
	// ErrNotMap: what is to be decoded is a MessagePack value, but not a map.
	ErrNotMap = errors.New("payload is not a map")
	// ErrMissing: a field that must be there is absent.
	ErrMissing = errors.New("missing field")
	// ErrMistyped: a field is of another type, or longer than its limit.
	ErrMistyped = errors.New("mistyped field")
)

// Error says which field is missing or mistyped.
type Error struct {
	Field  string // its name on the wire
	Detail string // what was found instead, for people; may be empty
	Err    error  // ErrMissing or ErrMistyped
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%v %q", e.Err, e.Field)
	}
	return fmt.Sprintf("%v %q: %s", e.Err, e.Field, e.Detail)
}

// Unwrap returns ErrMissing or ErrMistyped.
func (e *Error) Unwrap() error { return e.Err }

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

// Codec writes or reads the fields of a message, which names each once:
//
//	func (m *Cast) fields(c *fields.Codec) {
//		c.Text("procedure", &m.Procedure, fields.MaxField, fields.Always|fields.Required)
//		c.Raw("args", &m.Args, fields.Optional)
//	}
//
// To write, fields is called once. To read, it is called in passes: a pass takes
// the fields that come in its order, the next pass what is left, and a last one
// notes what is missing, if anything may be. So a payload in our own order takes
// one pass, and nothing is allocated:
//
//	c := fields.Decode(payload)
//	for c.Pass() {
//		m.fields(&c)
//	}
//	return c.Done()
//
// Damage to the MessagePack ends it at once; a field that is missing or mistyped
// is noted, and the other fields are still read.
type Codec struct {
	b     []byte // what is written so far, or not yet read
	begin int    // where the map starts that is being written

	key    []byte // of the field that comes; nil where there is none or it is no text
	left   uint32 // fields behind that one
	phase  phase
	passed bool // a pass began with this key: if nothing took it, it is unknown
	lacks  bool // a field was missing when its turn came
	lax    bool // what an unknown field holds is nobody's concern
	depth  int  // levels that a value may open
	first  *Error
	err    error

	// Seen is for the message to note what came that may be empty where it may not
	// be absent. It is kept from pass to pass.
	Seen [2]bool
}

type phase uint8

const (
	writing phase = iota
	reading
	drained  // all is read, and this pass goes on to its end
	checking // whether something is missing
)

// Rule says when a field is written, and whether a message may come without it.
type Rule uint8

// The rules, which may be combined.
const (
	Optional Rule = 0         // written unless it is empty
	Always   Rule = 1 << iota // written also where it is empty
	Required                  // absent or empty it is missing
)

// When reports whether to visit a field that is written only for a reason; it is
// read in any case.
func (c *Codec) When(reason bool) bool { return reason || c.phase != writing }

// Writing reports whether the fields are being written.
func (c *Codec) Writing() bool { return c.phase == writing }

// Encode begins a map behind b. No map has more than 15 fields.
func Encode(b []byte) Codec {
	return Codec{b: append(b, 0x80), begin: len(b)}
}

// Encoded returns b with the map behind it.
func (c *Codec) Encoded() []byte { return c.b }

// Decode begins to read a map.
func Decode(payload []byte) Codec {
	c := Codec{phase: reading, depth: msgpack.MaxDepth - 1}
	head, err := msgpack.Scan(payload)
	switch {
	case err != nil:
		c.err = err
	case head.Kind != msgpack.Map:
		// Broken MessagePack comes before a payload of the wrong kind.
		if c.err = msgpack.Raw(payload).Check(msgpack.MaxDepth); c.err == nil {
			c.err = fmt.Errorf("%w but a %s", ErrNotMap, head.Kind)
		}
	default:
		c.left = uint32(head.Size / 2)
		c.lacks = c.left == 0
		c.b = payload[head.Head:]
		c.Next()
	}
	return c
}

// DecodeLax is Decode that does not look into fields it does not know.
func DecodeLax(payload []byte) Codec {
	c := Decode(payload)
	c.lax = true
	return c
}

// Pass reports whether the message's fields are to be visited once more.
func (c *Codec) Pass() bool {
	if c.passed {
		c.skip()
		c.Next()
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

// Next moves to the next field, after the value of the last was taken.
func (c *Codec) Next() {
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

// Take cuts the value of the field that comes, and returns its head too. Of what
// is damaged it returns none, so that its kind is Invalid.
func (c *Codec) Take() (msgpack.Token, msgpack.Raw) { return c.take(false) }

// take is Take that, where it is lax, passes over ext types and invalid UTF-8: the
// value is judged later by a stricter rule.
func (c *Codec) take(lax bool) (msgpack.Token, msgpack.Raw) {
	if c.err != nil {
		return msgpack.Token{}, nil
	}
	t, n, err := msgpack.Next(c.b, c.depth, lax)
	if err != nil {
		c.err = err
		return msgpack.Token{}, nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return t, v
}

// Done returns what was wrong, if anything: damage first, then the first field, as
// an [*Error].
func (c *Codec) Done() error {
	switch {
	case c.err != nil:
		return c.err
	case len(c.b) > 0:
		return fmt.Errorf("%w: %d bytes after the value", msgpack.ErrMalformed, len(c.b))
	case c.first != nil:
		return c.first
	}
	return nil
}

// Need says whether a field that must be there is, as far as is read by now. One
// that still is not at the end is noted.
func (c *Codec) Need(name string, there bool) {
	switch {
	case there:
	case c.phase == checking:
		c.note(name, "", ErrMissing)
	default:
		c.lacks = true
	}
}

// Mistyped notes why what was read of a field is not what it should be.
func (c *Codec) Mistyped(name string, why error) {
	if c.clean() {
		c.note(name, why.Error(), ErrMistyped)
	}
}

func (c *Codec) mistyped(detail string) { c.note(string(c.key), detail, ErrMistyped) }

func (c *Codec) note(name, detail string, err error) {
	if c.clean() {
		c.first = &Error{Field: name, Detail: detail, Err: err}
	}
}

// clean reports whether nothing is noted yet: only the first detail is worth
// its wording, and a peer may send a million of them.
func (c *Codec) clean() bool { return c.first == nil && c.err == nil }

// not notes that a value, unless it is nil, is no what.
func (c *Codec) not(kind msgpack.Kind, what string) {
	if kind != msgpack.Nil && c.clean() {
		c.mistyped(kind.String() + " instead of " + what)
	}
}

func (c *Codec) skip() { c.take(c.lax) }

// At reports whether the named field is the one to be read now.
func (c *Codec) At(name string) bool { return string(c.key) == name }

// named begins a field that is written: its value is to be appended.
func (c *Codec) named(name string) []byte {
	c.b[c.begin]++
	return append(append(c.b, 0xc4, byte(len(name))), name...) // a short bin
}
