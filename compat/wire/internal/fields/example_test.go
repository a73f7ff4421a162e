package fields_test

import (
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// cast is a message: its fields, and the one function that names them.
type cast struct {
	Procedure string
	Args      msgpack.Raw
	Timeout   fields.Opt[int64]
}

func (m *cast) fields(c *fields.Codec) {
	c.Text("procedure", &m.Procedure, fields.MaxField, fields.Always|fields.Required)
	c.Raw("args", &m.Args, fields.Optional)
	c.OptInt("timeout", &m.Timeout)
}

func (m *cast) decode(payload []byte) error {
	c := fields.Decode(payload)
	for c.Pass() {
		m.fields(&c)
	}
	return c.Done()
}

func ExampleCodec() {
	c := fields.Encode(nil)
	(&cast{Procedure: "echo", Timeout: fields.Some[int64](500)}).fields(&c)
	fmt.Printf("%q\n", c.Encoded())

	var m cast
	err := m.decode(c.Encoded())
	fmt.Println(m.Procedure, m.Timeout.Or(0), len(m.Args), err)

	err = m.decode(msgpack.RawMap(
		msgpack.Pair{Key: "timeout", Value: msgpack.RawInt(700)}, // in another order than ours
		msgpack.Pair{Key: "procedure", Value: msgpack.RawInt(1)},
	))
	fmt.Println(m.Timeout.V, err)
	fmt.Println(m.decode(msgpack.RawMap()))
	fmt.Println(m.decode(msgpack.RawText("echo")))

	// Output:
	// "\x82\xc4\tprocedure\xc4\x04echo\xc4\atimeout\xcd\x01\xf4"
	// echo 500 0 <nil>
	// 700 mistyped field "procedure": int instead of bin or str
	// missing field "procedure"
	// payload is not a map but a bin
}
