package fields

import (
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Map begins a field that is a map: its fields are named next, and then Close is
// called with what Map returned. It is for writing, as List and Elem are.
func (c *Codec) Map(name string) (outer int) {
	c.b = c.named(name)
	return c.Elem()
}

// List begins a field that is a list of n maps, each to be begun by Elem.
func (c *Codec) List(name string, n int) {
	c.b = msgp.AppendArrayHeader(c.named(name), uint32(n))
}

// Elem begins a map in a list, as Map does a field.
func (c *Codec) Elem() (outer int) {
	outer, c.begin = c.begin, len(c.b)
	c.b = append(c.b, 0x80)
	return outer
}

// Close ends a map within another.
func (c *Codec) Close(outer int) { c.begin = outer }

// TakeList takes an array, or the empty str that an Erlang node sends for an
// empty list, and hands each element to elem until that returns false. It
// reports whether the field is there: nil counts as absent.
func (c *Codec) TakeList(elem func(msgpack.Token, msgpack.Raw) bool) bool {
	head, err := msgpack.Scan(c.b)
	if err != nil || head.Kind != msgpack.Array {
		t, v := c.take(false)
		if c.err != nil {
			return false
		}
		if !t.Text() || len(v) > t.Head {
			c.not(t.Kind, "a list")
		}
		return t.Kind != msgpack.Nil
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
