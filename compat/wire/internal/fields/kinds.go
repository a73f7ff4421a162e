package fields

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Constant is a field that is written and not read.
func (c *Codec) Constant(name, v string) {
	switch {
	case c.phase == writing:
		c.b = msgpack.AppendBin(c.named(name), v)
	case c.At(name):
		c.skip()
		c.Next()
	}
}

// Bytes is a bin or str of at most limit bytes. Empty is nil; nil counts as
// absent.
func (c *Codec) Bytes(name string, v *[]byte, limit int, r Rule) {
	if *v != nil || c.phase != writing {
		c.codeBytes(name, v, limit, r)
	}
}

// codeBytes is apart so that Bytes, like some others, is inlined: a field that is
// not to be written then costs no call.
func (c *Codec) codeBytes(name string, v *[]byte, limit int, r Rule) {
	if c.phase == writing {
		c.b = msgpack.AppendBin(c.named(name), *v)
		return
	}
	if c.At(name) {
		*v = c.takeBytes(limit)
		c.Next()
	}
	if r&Required != 0 {
		c.Need(name, *v != nil)
	}
}

// Text is Bytes as a string, which is copied.
func (c *Codec) Text(name string, v *string, limit int, r Rule) {
	if *v != "" || r != Optional || c.phase != writing {
		c.codeText(name, v, limit, r)
	}
}

func (c *Codec) codeText(name string, v *string, limit int, r Rule) {
	if c.phase == writing {
		c.b = msgpack.AppendBin(c.named(name), *v)
		return
	}
	if c.At(name) {
		*v = string(c.takeBytes(limit))
		c.Next()
	}
	if r&Required != 0 {
		c.Need(name, *v != "")
	}
}

// TextThere is a text that may be empty and must not be absent.
func (c *Codec) TextThere(name string, v *string, limit int, there *bool) {
	if c.phase == writing {
		c.b = msgpack.AppendBin(c.named(name), *v)
		return
	}
	if c.At(name) {
		b := c.takeBytes(limit)
		*v, *there = string(b), b != nil
		c.Next()
	}
	c.Need(name, *there)
}

// Raw is any value, to be judged later; nil is one too. It is written unless it
// is empty.
func (c *Codec) Raw(name string, v *msgpack.Raw, r Rule) {
	if c.phase == writing {
		if len(*v) > 0 {
			c.b = append(c.named(name), *v...)
		}
		return
	}
	if c.At(name) {
		_, *v = c.take(true)
		c.Next()
	}
	if r&Required != 0 {
		c.Need(name, *v != nil)
	}
}

// Int is an integer that is always written.
func (c *Codec) Int(name string, v *int64) {
	switch {
	case c.phase == writing:
		c.b = msgpack.AppendInt(c.named(name), *v)
	case c.At(name):
		*v = c.takeInt().V
		c.Next()
	}
}

// OptInt is an integer that is written if it is set.
func (c *Codec) OptInt(name string, v *Opt[int64]) {
	if v.Set || c.phase != writing {
		c.codeOptInt(name, v)
	}
}

func (c *Codec) codeOptInt(name string, v *Opt[int64]) {
	switch {
	case c.phase == writing:
		c.b = msgpack.AppendInt(c.named(name), v.V)
	case c.At(name):
		*v = c.takeInt()
		c.Next()
	}
}

// Bool is a boolean that is always written.
func (c *Codec) Bool(name string, v *bool) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendBool(c.named(name), *v)
	case c.At(name):
		t, value := c.take(false)
		var ok bool
		if *v, ok = value.Bool(); !ok && c.err == nil {
			c.not(t.Kind, "a boolean")
		}
		c.Next()
	}
}

// Texts is a list of bin or str, each of at most MaxField bytes. What is beyond
// limit elements is not read.
func (c *Codec) Texts(name string, v *[]string, limit int) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
		for _, s := range *v {
			c.b = msgpack.AppendBin(c.b, s)
		}
	case c.At(name):
		*v = nil
		c.TakeList(func(t msgpack.Token, e msgpack.Raw) bool {
			if b := c.checkBytes(t, e, MaxField); b != nil {
				*v = append(*v, string(b))
			}
			return len(*v) < limit
		})
		c.Next()
	}
}

// ByteList is Texts without the copy, and written unless it is empty. An element has size
// bytes at most.
func (c *Codec) ByteList(name string, v *[][]byte, limit, size int) {
	if len(*v) > 0 || c.phase != writing {
		c.codeByteList(name, v, limit, size)
	}
}

func (c *Codec) codeByteList(name string, v *[][]byte, limit, size int) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
		for _, s := range *v {
			c.b = msgpack.AppendBin(c.b, s)
		}
	case c.At(name):
		*v = (*v)[:0]
		c.TakeList(func(t msgpack.Token, e msgpack.Raw) bool {
			if b := c.checkBytes(t, e, size); b != nil {
				*v = append(*v, b)
			}
			return len(*v) < limit
		})
		if len(*v) == 0 {
			*v = nil
		}
		c.Next()
	}
}

// Ints is a list of integers, written unless it is empty. What is beyond limit
// is not read.
func (c *Codec) Ints(name string, v *[]int64, limit int) {
	switch {
	case c.phase == writing:
		if len(*v) > 0 {
			c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
			for _, i := range *v {
				c.b = msgpack.AppendInt(c.b, i)
			}
		}
	case c.At(name):
		t, value := c.take(false)
		var ok bool
		if *v, ok = value.AppendInts((*v)[:0], limit); !ok && c.err == nil {
			c.not(t.Kind, "a list of integers")
		}
		c.Next()
	}
}

// Raws is a list of any values; there is told whether it came. What is beyond
// limit is not read.
func (c *Codec) Raws(name string, v *[]msgpack.Raw, limit int, there *bool) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
		for _, e := range *v {
			c.b = msgpack.AppendRaw(c.b, e)
		}
	case c.At(name):
		*v = (*v)[:0]
		*there = c.TakeList(func(_ msgpack.Token, e msgpack.Raw) bool {
			*v = append(*v, e)
			return len(*v) < limit
		})
		c.Next()
	}
}

func (c *Codec) takeBytes(limit int) []byte {
	t, v := c.take(false)
	if c.err != nil {
		return nil
	}
	return c.checkBytes(t, v, limit)
}

func (c *Codec) checkBytes(t msgpack.Token, v msgpack.Raw, limit int) []byte {
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

func (c *Codec) takeInt() (i Opt[int64]) {
	t, v := c.take(false)
	if c.err == nil {
		if i.V, i.Set = t.Whole(v); !i.Set {
			c.not(t.Kind, "an integer")
		}
	}
	return i
}
