package wire_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

func TestFindValueReply(t *testing.T) {
	value := fields("n", num(1))
	node := fields("node_id", bin("n"))
	tests := map[string]struct {
		in      wire.Raw
		want    wire.FindValueReply
		err     error
		inField string
	}{
		"hit":                          {fields("value", list(value)), wire.FindValueReply{Values: []wire.Raw{value}}, nil, ""},
		"hit with ages":                {fields("value", list(value, value), "expires_in", list(num(300), num(0))), wire.FindValueReply{Values: []wire.Raw{value, value}, ExpiresIn: []int64{300, 0}}, nil, ""},
		"ages as code points":          {fields("expires_in", str("ab"), "value", list(value, value)), wire.FindValueReply{Values: []wire.Raw{value, value}, ExpiresIn: []int64{97, 98}}, nil, ""},
		"ages are nil":                 {fields("value", list(value), "expires_in", nilValue), wire.FindValueReply{Values: []wire.Raw{value}}, nil, ""},
		"no ages":                      {fields("value", list(value), "expires_in", str("")), wire.FindValueReply{Values: []wire.Raw{value}}, nil, ""},
		"too few ages":                 {fields("value", list(value, value), "expires_in", list(num(1))), wire.FindValueReply{Values: []wire.Raw{value, value}}, wire.ErrMistypedField, "expires_in"},
		"too many ages":                {fields("value", list(value), "expires_in", str("ab")), wire.FindValueReply{Values: []wire.Raw{value}}, wire.ErrMistypedField, "expires_in"},
		"hit with proofs":              {fields("value", list(value, value), "proofs", list(bin("p"), bin(""))), wire.FindValueReply{Values: []wire.Raw{value, value}, Proofs: [][]byte{[]byte("p"), {}}}, nil, ""},
		"proofs are nil":               {fields("value", list(value), "proofs", nilValue), wire.FindValueReply{Values: []wire.Raw{value}}, nil, ""},
		"too few proofs":               {fields("value", list(value, value), "proofs", list(bin("p"))), wire.FindValueReply{Values: []wire.Raw{value, value}}, wire.ErrMistypedField, "proofs"},
		"proofs of nothing":            {fields("nodes", str(""), "proofs", list(bin("p"))), wire.FindValueReply{}, wire.ErrMistypedField, "proofs"},
		"miss with tombstones":         {fields("nodes", str(""), "tombstones", list(bin("t"))), wire.FindValueReply{Tombstones: [][]byte{[]byte("t")}}, nil, ""},
		"ages of nothing":              {fields("nodes", str(""), "expires_in", list(num(1))), wire.FindValueReply{}, wire.ErrMistypedField, "expires_in"},
		"miss, Erlang's":               {fields("nodes", str("")), wire.FindValueReply{}, nil, ""},
		"miss with nodes":              {fields("nodes", list(node)), wire.FindValueReply{Nodes: []wire.Node{{ID: []byte("n")}}}, nil, ""},
		"value is an empty list":       {fields("value", str("")), wire.FindValueReply{}, nil, ""},
		"value is nil":                 {fields("value", nilValue), wire.FindValueReply{}, wire.ErrMissingField, "value"},
		"nodes is nil":                 {fields("nodes", nilValue), wire.FindValueReply{}, wire.ErrMissingField, "value"},
		"value is a map":               {fields("value", value), wire.FindValueReply{}, wire.ErrMistypedField, "value"},
		"error":                        {fields("type", bin("error"), "reason", bin("busy")), wire.FindValueReply{Reason: "busy"}, nil, ""},
		"error without reason":         {fields("type", bin("error")), wire.FindValueReply{}, wire.ErrMissingField, "value"},
		"a bad node spoils no earlier": {fields("nodes", list(node, num(1), node)), wire.FindValueReply{Nodes: []wire.Node{{ID: []byte("n")}}}, wire.ErrMistypedField, "nodes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := decode(wire.TypeFindValueReply, test.in)
			assert.Equal(t, &test.want, m)
			if test.err == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, test.err)
			var fe *wire.FieldError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, test.inField, fe.Field)
		})
	}
}

// What we send to an Erlang node must not crash it: type always, a miss with an
// empty list, a hit with a list.
func TestFindValueReplyForErlang(t *testing.T) {
	str := func(text string) map[string]any { return map[string]any{"$bin": hex.EncodeToString([]byte(text))} }
	tests := map[string]struct {
		m    wire.FindValueReply
		want map[string]any
	}{
		"miss":  {wire.FindValueReply{}, map[string]any{"type": str("find_value_reply"), "result": str("nodes"), "nodes": []any{}}},
		"hit":   {wire.FindValueReply{Values: []wire.Raw{fields("a", bin("b"))}}, map[string]any{"type": str("find_value_reply"), "result": str("value"), "value": []any{map[string]any{"a": str("b")}}}},
		"error": {wire.FindValueReply{Reason: "busy", Values: []wire.Raw{fields()}}, map[string]any{"type": str("error"), "reason": str("busy")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, mustRender(t, test.m.AppendPayload(nil)))
		})
	}
}

func TestNodesLimit(t *testing.T) {
	nodes := make([]wire.Node, 21)
	for i := range nodes {
		nodes[i] = wire.Node{ID: []byte{byte(i)}, Address: "a", LastSeen: int64(i)}
	}
	for _, n := range []int{0, 1, 16, 20} {
		m, err := decode(wire.TypeFindNodeReply, (&wire.FindNodeReply{Nodes: nodes[:n]}).AppendPayload(nil))
		require.NoError(t, err)
		assert.Len(t, m.(*wire.FindNodeReply).Nodes, n)
	}
	m, err := decode(wire.TypeFindNodeReply, (&wire.FindNodeReply{Nodes: nodes}).AppendPayload(nil))
	require.ErrorIs(t, err, wire.ErrMistypedField)
	assert.Equal(t, nodes[:20], m.(*wire.FindNodeReply).Nodes)
}

func TestReplyError(t *testing.T) {
	tests := map[string]struct {
		in   wire.Raw
		want wire.CallError
		text string
	}{
		"map":            {fields("code", bin("invalid_args"), "message", bin("no key")), wire.CallError{Code: "invalid_args", Message: "no key"}, "invalid_args: no key"},
		"text":           {bin("no such procedure"), wire.CallError{Message: "no such procedure"}, "no such procedure"},
		"str":            {str("no such procedure"), wire.CallError{Message: "no such procedure"}, "no such procedure"},
		"unknown fields": {fields("code", bin("c"), "zz", list(), "message", bin("m")), wire.CallError{Code: "c", Message: "m"}, "c: m"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := decode(wire.TypeReply, fields("error", test.in))
			require.NoError(t, err)
			assert.Equal(t, &wire.Reply{Error: &test.want}, m)
			assert.EqualError(t, m.(*wire.Reply).Error, test.text)
			again, err := decode(wire.TypeReply, m.AppendPayload(nil))
			require.NoError(t, err)
			assert.Equal(t, m, again)
		})
	}
	sent := (&wire.Reply{Error: &wire.CallError{Message: "no such procedure"}}).AppendPayload(nil)
	assert.Equal(t, []byte(fields("error", bin("no such procedure"))), sent, "without a code it is a text")

	m, err := decode(wire.TypeReply, fields("error", nilValue, "result", nilValue))
	require.NoError(t, err)
	assert.Equal(t, &wire.Reply{Result: nilValue}, m, "nil is a result, and no error")
}

// 1 MiB of the smallest elements must not become many times its size.
func TestManyElementsStayBounded(t *testing.T) {
	const n = 1_000_000
	many := func(elem ...byte) wire.Raw {
		return append(msgp.AppendArrayHeader(nil, uint32(n/len(elem))), bytes.Repeat(elem, n/len(elem))...)
	}
	repeated := func(name string, v wire.Raw) wire.Raw {
		pair := join(bin(name), v)
		return join(msgp.AppendMapHeader(nil, uint32(n/len(pair))), bytes.Repeat(pair, n/len(pair)))
	}
	tests := map[string]struct {
		typ wire.Type
		in  wire.Raw
	}{
		"values":              {wire.TypeFindValueReply, fields("value", many(0x80))},
		"values and ages":     {wire.TypeFindValueReply, fields("value", many(0x80), "expires_in", many(0x01))},
		"ages":                {wire.TypeFindValueReply, fields("value", list(), "expires_in", many(0x01))},
		"ages as a str":       {wire.TypeFindValueReply, fields("value", list(), "expires_in", wire.Raw(join(raw(0xdb, 0, 0x0f, 0x42, 0x40), bytes.Repeat([]byte{1}, n))))},
		"nodes":               {wire.TypeFindNodeReply, fields("nodes", many(0x80))},
		"nodes, nils":         {wire.TypeFindNodeReply, fields("nodes", many(0xc0))},
		"addrs of a node":     {wire.TypeFindNodeReply, fields("nodes", list(fields("node_id", bin("n"), "addrs", many(0xa0))))},
		"topics":              {wire.TypeSubscribe, fields("topics", many(0xa0))},
		"topics, mistyped":    {wire.TypeSubscribe, fields("topics", many(0x01))},
		"topics, nil":         {wire.TypeSubscribe, fields("topics", many(0xc0))},
		"capabilities":        {wire.TypeConnect, fields("capabilities", many(0xa0))},
		"addrs":               {wire.TypeConnect, fields("addrs", many(0xc4, 0x00))},
		"addrs, mistyped":     {wire.TypePong, fields("addrs", many(0xc3))},
		"mistyped fields":     {wire.TypePing, repeated("timestamp", aBool)},
		"mistyped keys":       {wire.TypeFindValue, repeated("key", num(1))},
		"mistyped nodes":      {wire.TypeFindNodeReply, repeated("nodes", list(num(1)))},
		"a million of fields": {wire.TypeSWIMPing, join(msgp.AppendMapHeader(nil, n/2), bytes.Repeat([]byte{0xa0, 0xc0}, n/2))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.LessOrEqual(t, len(test.in), 2*wire.MaxPayload+100)
			spent := allocated(func() {
				m, _ := decode(test.typ, test.in)
				assert.NotNil(t, m)
				runtime.KeepAlive(m)
			})
			assert.Less(t, spent, uint64(200<<10))
		})
	}
	m, err := decode(wire.TypeFindValueReply, fields("value", many(0x80), "expires_in", many(0x01)))
	require.NoError(t, err)
	assert.Equal(t, wire.MaxValues, len(m.(*wire.FindValueReply).Values))
	assert.Equal(t, wire.MaxValues, len(m.(*wire.FindValueReply).ExpiresIn))
}

// A decoded message shares the payload's memory; appending to what it holds
// must not write into it.
func TestFieldsAreFenced(t *testing.T) {
	for _, typ := range typed() {
		payload := payloadWith(typ, "", nil)
		before := bytes.Clone(payload)
		m, err := decode(typ, payload)
		require.NoError(t, err)
		var visit func(v reflect.Value)
		visit = func(v reflect.Value) {
			switch v.Kind() {
			case reflect.Slice:
				if v.Type().Elem().Kind() == reflect.Uint8 {
					_ = append(v.Bytes(), 0xff, 0xff)
					return
				}
				for i := range v.Len() {
					visit(v.Index(i))
				}
			case reflect.Struct:
				for i := range v.NumField() {
					visit(v.Field(i))
				}
			}
		}
		visit(reflect.ValueOf(m).Elem())
		assert.Equal(t, before, []byte(payload), typ)
	}
	held := []byte(join(bin("key"), []byte("neighbour")))
	b, ok := wire.Raw(held).Bytes()
	require.True(t, ok)
	_ = append(b, 'X')
	assert.Equal(t, "neighbour", string(held[5:]))
}

// A message that is decoded into twice holds nothing of the first.
func TestDecodeForgetsTheLast(t *testing.T) {
	for _, typ := range typed() {
		m, err := decode(typ, payloadWith(typ, "", nil))
		require.NoError(t, err)
		want, wantErr := decode(typ, raw(0x80))
		err = m.(interface{ Decode([]byte) error }).Decode(raw(0x80))
		assert.Equal(t, wantErr, err, typ)
		assert.Equal(t, want, m, typ)
	}
}

func TestOpaque(t *testing.T) {
	payload := fields("from", bin("a"), "seq", num(1), "seq", num(2))
	m, err := decode(wire.TypeSWIMPing, payload)
	require.NoError(t, err)
	v, ok := m.(*wire.Opaque).Field("seq")
	assert.True(t, ok)
	assert.Equal(t, num(2), v)
	assert.Equal(t, []byte(payload), m.AppendPayload(nil))
	assert.Equal(t, []byte{0x80}, (&wire.Opaque{MessageType: wire.TypeSWIMPing}).AppendPayload(nil))
	require.NoError(t, framing.Frame{Type: 0xee, Payload: payload}.Check(), "of an unknown type too")
	assert.ErrorIs(t, framing.Frame{Type: 0xee, Payload: num(1)}.Check(), wire.ErrNotMap)
	_, err = framing.Frame{Type: 0xee, Payload: payload}.Decode()
	assert.ErrorIs(t, err, wire.ErrUnknownType)
}

func TestOpt(t *testing.T) {
	assert.Equal(t, 3, wire.Opt[int]{}.Or(3))
	assert.Equal(t, 0, wire.Some(0).Or(3))
}
