package wire_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// kind is what a field of a message must be.
type kind int

const (
	short kind = iota // bin or str of at most 255 bytes
	long              // bin or str of any length
	integer
	boolean
	shorts   // a list of short
	integers // a list of integers
	nodeList
	proof    // bin or str of at most 1,536 bytes
	proofs   // a list of proof
	anything // judged elsewhere
	anyList  // a list of anything
	failure  // text, or a map of code and message
)

type field struct {
	typ      wire.Type
	name     string
	kind     kind
	required bool
}

// fieldTable is every field that a message struct reads.
var fieldTable = []field{
	{wire.TypeConnect, "version", short, false},
	{wire.TypeConnect, "node_id", short, true},
	{wire.TypeConnect, "realm_id", short, true},
	{wire.TypeConnect, "endpoint", short, false},
	{wire.TypeConnect, "capabilities", shorts, false},
	{wire.TypeConnect, "addrs", shorts, false},
	{wire.TypeConnect, "store_id", short, false},
	{wire.TypeDisconnect, "reason", short, false},
	{wire.TypeDisconnect, "message", long, false},
	{wire.TypePing, "timestamp", integer, false},
	{wire.TypePong, "timestamp", integer, false},
	{wire.TypePong, "server_time", integer, false},
	{wire.TypePong, "node_id", short, false},
	{wire.TypePong, "endpoint", short, false},
	{wire.TypePong, "realm_id", short, false},
	{wire.TypePong, "addrs", shorts, false},
	{wire.TypePong, "store_id", short, false},
	{wire.TypePublish, "topic", short, true},
	{wire.TypePublish, "payload", anything, false},
	{wire.TypePublish, "qos", integer, false},
	{wire.TypePublish, "retain", boolean, false},
	{wire.TypePublish, "message_id", short, false},
	{wire.TypeSubscribe, "topics", shorts, false},
	{wire.TypeSubscribe, "qos", integer, false},
	{wire.TypeUnsubscribe, "topics", shorts, false},
	{wire.TypePubSubRoute, "destination_node_id", short, true},
	{wire.TypePubSubRoute, "source_node_id", short, false},
	{wire.TypePubSubRoute, "hop_count", integer, false},
	{wire.TypePubSubRoute, "max_hops", integer, false},
	{wire.TypePubSubRoute, "payload", anything, false},
	{wire.TypePubSubRoute, "topic", short, false},
	{wire.TypeCall, "procedure", short, true},
	{wire.TypeCall, "args", anything, false},
	{wire.TypeCall, "call_id", short, false},
	{wire.TypeCall, "realm", short, false},
	{wire.TypeCall, "timeout", integer, false},
	{wire.TypeReply, "call_id", short, false},
	{wire.TypeReply, "result", anything, false},
	{wire.TypeReply, "error", failure, false},
	{wire.TypeCast, "procedure", short, true},
	{wire.TypeCast, "args", anything, false},
	{wire.TypeRPCRoute, "destination_node_id", short, true},
	{wire.TypeRPCRoute, "source_node_id", short, false},
	{wire.TypeRPCRoute, "hop_count", integer, false},
	{wire.TypeRPCRoute, "max_hops", integer, false},
	{wire.TypeRPCRoute, "payload", anything, false},
	{wire.TypeRPCRoute, "payload_type", short, false},
	{wire.TypeRPCRequest, "request_id", short, false},
	{wire.TypeRPCRequest, "procedure", short, true},
	{wire.TypeRPCRequest, "args", anything, false},
	{wire.TypeRPCRequest, "from_node", short, false},
	{wire.TypeRPCRequest, "target_node", short, false},
	{wire.TypeRPCRequest, "from_endpoint", short, false},
	{wire.TypeRPCRequest, "timestamp", integer, false},
	{wire.TypeRPCRequest, "type", short, false},
	{wire.TypeRPCRequest, "realm", short, false},
	{wire.TypeRPCReply, "request_id", short, false},
	{wire.TypeRPCReply, "from_node", short, false},
	{wire.TypeRPCReply, "result", anything, false},
	{wire.TypeRPCReply, "error", long, false},
	{wire.TypeRPCReply, "timestamp", integer, false},
	{wire.TypeRPCReply, "type", short, false},
	{wire.TypeRPCReply, "to_node", short, false},
	{wire.TypeRegisterProcedure, "procedure", short, true},
	{wire.TypeFindNode, "target", short, true},
	{wire.TypeFindNodeReply, "nodes", nodeList, false},
	{wire.TypeFindNodeReply, "reason", short, false},
	{wire.TypeStore, "key", short, true},
	{wire.TypeStore, "value", anything, false}, // or there is a proof
	{wire.TypeStore, "proof", proof, false},
	{wire.TypeFindValue, "key", short, true},
	{wire.TypeFindValueReply, "value", anyList, false},
	{wire.TypeFindValueReply, "expires_in", integers, false},
	{wire.TypeFindValueReply, "proofs", proofs, false},
	{wire.TypeFindValueReply, "nodes", nodeList, false},
	{wire.TypeFindValueReply, "tombstones", proofs, false},
	{wire.TypeFindValueReply, "reason", short, false},
	{wire.TypeNATProbe, "node_id", short, false},
	{wire.TypeNATProbe, "local_port", integer, false},
	{wire.TypeNATProbe, "request_id", short, false},
	{wire.TypeNATProbeReply, "node_id", short, false},
	{wire.TypeNATProbeReply, "request_id", short, false},
	{wire.TypeNATProbeReply, "reflexive_ip", short, false},
	{wire.TypeNATProbeReply, "reflexive_port", integer, false},
	{wire.TypeNATProbeReply, "server_time", integer, false},
}

func (k kind) sample() wire.Raw {
	return [...]wire.Raw{
		short: bin("abc"), long: bin("abc"), proof: bin("abc"), proofs: list(bin("abc")), integer: num(1_700_000_000_123), boolean: aBool,
		shorts: list(bin("a"), bin("b")), integers: list(num(300)),
		nodeList: list(fields("node_id", bin("n"), "address", bin("https://h:1"), "last_seen", num(5), "addrs", list(bin("x")))),
		anything: fields("a", num(1)), anyList: list(fields("a", num(1))),
		failure: fields("code", bin("c"), "message", bin("m")),
	}[k]
}

// another is a sound value of the kind that is not the sample.
func (k kind) another() wire.Raw {
	return [...]wire.Raw{
		short: str("other"), long: str("other"), proof: str("other"), proofs: list(str("other")), integer: num(-9), boolean: raw(0xc2),
		shorts: str(""), integers: list(num(9), num(9)), nodeList: list(fields("node_id", str("other"))),
		anything: anExt, anyList: list(nilValue), failure: str("other"),
	}[k]
}

// wrong lists values that are not of the kind.
func (k kind) wrong() map[string]wire.Raw {
	long256 := bin(strings.Repeat("x", 256))
	switch k {
	case short:
		return map[string]wire.Raw{"int": num(1), "array": list(), "map": fields(), "bool": aBool, "256 bytes": long256, "256 bytes of str": str(strings.Repeat("x", 256))}
	case long:
		return map[string]wire.Raw{"int": num(1), "array": list(bin("x"))}
	case proof:
		return map[string]wire.Raw{"int": num(1), "array": list(), "1,537 bytes": bin(strings.Repeat("x", wire.MaxProof+1))}
	case proofs:
		return map[string]wire.Raw{"text": bin("a"), "int": num(1), "int within": list(num(1)), "1,537 bytes within": list(bin(strings.Repeat("x", wire.MaxProof+1)))}
	case integer:
		return map[string]wire.Raw{"bin": bin("1"), "fraction": float(1.5), "NaN": float(math.NaN()), "2^63": float(1 << 63), "bool": aBool}
	case boolean:
		return map[string]wire.Raw{"int": num(1), "bin": bin("true")}
	case shorts:
		return map[string]wire.Raw{"text": bin("a"), "str": str("a"), "int": num(1), "int within": list(num(1)), "256 bytes within": list(long256)}
	case integers:
		return map[string]wire.Raw{"int": num(1), "bin": bin("a"), "text within": list(bin("a")), "fraction within": list(float(1.5)), "2^63 within": list(float(1 << 63))}
	case nodeList:
		return map[string]wire.Raw{"text": bin("a"), "map": fields(), "int within": list(num(1)), "map without node_id": list(fields()),
			"node_id of 256 bytes": list(fields("node_id", long256)), "address an int": list(fields("node_id", bin("n"), "address", num(1)))}
	case anyList:
		return map[string]wire.Raw{"map": fields(), "text": bin("a"), "str": str("\x01\x02"), "bool": aBool}
	case failure:
		return map[string]wire.Raw{"int": num(1), "array": list(), "code an int": fields("code", num(1))}
	}
	return nil
}

// typed names the types that have a struct of their own.
func typed() (types []wire.Type) {
	seen := map[wire.Type]bool{}
	for _, f := range fieldTable {
		if !seen[f.typ] {
			seen[f.typ] = true
			types = append(types, f.typ)
		}
	}
	return types
}

// payload builds the message of type t with a sample in every field but one,
// which has the value v instead; without it where v is nil.
func payloadWith(t wire.Type, name string, v wire.Raw) wire.Raw {
	var kv []any
	for _, f := range fieldTable {
		switch {
		case f.typ != t:
		case f.name != name:
			kv = append(kv, f.name, f.kind.sample())
		case v != nil:
			kv = append(kv, name, v)
		}
	}
	return fields(kv...)
}

func decode(t wire.Type, payload []byte) (wire.Message, error) {
	return framing.Frame{Type: t, Payload: payload}.Decode()
}

// eachField runs a subtest for every field of every message.
func eachField(t *testing.T, run func(t *testing.T, f field)) {
	for _, f := range fieldTable {
		t.Run(fmt.Sprintf("%s/%s", f.typ, f.name), func(t *testing.T) { run(t, f) })
	}
}

func TestFieldsPresent(t *testing.T) {
	assert.Len(t, typed(), 22)
	for _, typ := range typed() {
		m, err := decode(typ, payloadWith(typ, "", nil))
		require.NoError(t, err, typ)
		_, opaque := m.(*wire.Opaque)
		assert.False(t, opaque, typ)
	}
	eachField(t, func(t *testing.T, f field) {
		full, err := decode(f.typ, payloadWith(f.typ, "", nil))
		require.NoError(t, err)
		without, _ := decode(f.typ, payloadWith(f.typ, f.name, nil))
		assert.NotEqual(t, full, without, "the field is read")
	})
}

// A mistyped field is named, and costs no other field.
func TestFieldsMistyped(t *testing.T) {
	eachField(t, func(t *testing.T, f field) {
		for name, wrong := range f.kind.wrong() {
			m, err := decode(f.typ, payloadWith(f.typ, f.name, wrong))
			require.ErrorIs(t, err, wire.ErrMistypedField, name)
			var fe *wire.FieldError
			require.ErrorAs(t, err, &fe, name)
			assert.Equal(t, f.typ, fe.Type, name)
			assert.Equal(t, f.name, fe.Field, name)
			assert.NotEmpty(t, fe.Detail, name)
			assert.Contains(t, err.Error(), f.typ.String(), name)
			assert.Contains(t, err.Error(), f.name, name)

			if f.kind == shorts || f.kind == failure {
				continue // what is good in them is kept
			}
			without, _ := decode(f.typ, payloadWith(f.typ, f.name, nil))
			assert.Equal(t, without, m, "%s: as if it were not there", name)
		}
	})
}

func TestFieldsMissing(t *testing.T) {
	eachField(t, func(t *testing.T, f field) {
		absent, absentErr := decode(f.typ, payloadWith(f.typ, f.name, nil))
		if f.required {
			var fe *wire.FieldError
			require.ErrorAs(t, absentErr, &fe)
			assert.ErrorIs(t, absentErr, wire.ErrMissingField)
			assert.Equal(t, wire.FieldError{Type: f.typ, Field: f.name, Err: wire.ErrMissingField}, *fe)
		} else if f.typ != wire.TypeFindValueReply || f.name != "value" { // expires_in and proofs are alone then
			require.NoError(t, absentErr)
		}
		if f.kind == anything {
			return // nil is a value there
		}
		null, err := decode(f.typ, payloadWith(f.typ, f.name, nilValue))
		assert.Equal(t, absentErr, err, "nil counts as absent")
		assert.Equal(t, absent, null)
	})
}

// A JavaScript peer writes Date.now() as a float, and may write any number so.
func TestFieldsWholeFloats(t *testing.T) {
	const now = 1_700_000_000_123
	eachField(t, func(t *testing.T, f field) {
		asInt, asFloat := num(now), float(now)
		switch f.kind {
		case integer:
		case integers:
			asInt, asFloat = list(asInt), list(asFloat)
		default:
			return
		}
		want, err := decode(f.typ, payloadWith(f.typ, f.name, asInt))
		require.NoError(t, err)
		got, err := decode(f.typ, payloadWith(f.typ, f.name, asFloat))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
	node := fields("node_id", bin("n"), "last_seen", float(now))
	m, err := decode(wire.TypeFindNodeReply, fields("nodes", list(node)))
	require.NoError(t, err)
	assert.Equal(t, int64(now), m.(*wire.FindNodeReply).Nodes[0].LastSeen)

	gateway, ok := procedures.ParseGateway(fields("node_id", bin("n"), "host", bin("h"), "port", float(9443), "registered_at", float(now)))
	assert.True(t, ok)
	assert.Equal(t, int64(9443), gateway.Port)
	assert.Equal(t, int64(now), gateway.RegisteredAt.V)

	var args procedures.StoreArgs
	require.NoError(t, args.Decode(fields("key", bin("k"), "value", fields(), "expires_in", float(290))))
	assert.Equal(t, wire.Some[int64](290), args.ExpiresIn)
}

// What a message can not do without, as its handlers name it in their answers.
func TestEmptyPayload(t *testing.T) {
	missing := map[wire.Type]string{
		wire.TypeConnect: "node_id", wire.TypePublish: "topic", wire.TypePubSubRoute: "destination_node_id",
		wire.TypeCall: "procedure", wire.TypeReply: "result", wire.TypeCast: "procedure",
		wire.TypeRPCRoute: "destination_node_id", wire.TypeRPCRequest: "procedure", wire.TypeRegisterProcedure: "procedure", wire.TypeFindNode: "target",
		wire.TypeFindNodeReply: "nodes", wire.TypeStore: "key", wire.TypeFindValue: "key", wire.TypeFindValueReply: "value",
	}
	for _, typ := range typed() {
		m, err := decode(typ, raw(0x80))
		require.NotNil(t, m, typ)
		if missing[typ] == "" {
			require.NoError(t, err, typ)
			continue
		}
		var fe *wire.FieldError
		require.ErrorAs(t, err, &fe, typ)
		assert.Equal(t, missing[typ], fe.Field, typ)
	}
}

func TestFieldsDuplicate(t *testing.T) {
	eachField(t, func(t *testing.T, f field) {
		full, err := decode(f.typ, payloadWith(f.typ, "", nil))
		require.NoError(t, err)
		payload := payloadWith(f.typ, "", nil)
		require.Less(t, payload[0], byte(0x8f))
		payload[0]++
		head := payload[:1:1]
		twice := join(head, bin(f.name), f.kind.another(), payload[1:])
		m, err := decode(f.typ, twice)
		require.NoError(t, err)
		assert.Equal(t, full, m, "the last wins")

		if f.kind != anything && f.kind != failure {
			swapped := join(payload, bin(f.name), nilValue)
			m, err = decode(f.typ, swapped)
			absent, absentErr := decode(f.typ, payloadWith(f.typ, f.name, nil))
			assert.Equal(t, absentErr, err, "also where it is nil")
			assert.Equal(t, absent, m)
		}
	})
}

func TestFieldsLimits(t *testing.T) {
	eachField(t, func(t *testing.T, f field) {
		n, tooLong := 255, 256
		switch f.kind {
		case long:
			n, tooLong = 70_000, 0
		case short:
		default:
			return
		}
		for _, form := range []func(string) wire.Raw{bin, str} {
			_, err := decode(f.typ, payloadWith(f.typ, f.name, form(strings.Repeat("x", n))))
			require.NoError(t, err)
			if tooLong > 0 {
				_, err = decode(f.typ, payloadWith(f.typ, f.name, form(strings.Repeat("x", tooLong))))
				require.ErrorIs(t, err, wire.ErrMistypedField)
				assert.Contains(t, err.Error(), "256 bytes, limit 255")
			}
		}
	})
}

// An Erlang node writes an empty list as the empty str; once texts were
// rewritten it is the empty bin.
func TestFieldsEmptyList(t *testing.T) {
	eachField(t, func(t *testing.T, f field) {
		if f.kind != shorts && f.kind != nodeList && f.kind != anyList && f.kind != integers && f.kind != proofs {
			return
		}
		if f.name == "value" {
			return // expires_in and proofs would be longer than it; TestFindValueReply
		}
		want, err := decode(f.typ, payloadWith(f.typ, f.name, list()))
		require.NoError(t, err)
		got, err := decode(f.typ, payloadWith(f.typ, f.name, str("")))
		require.NoError(t, err)
		assert.Equal(t, want, got)
		if f.kind == integers {
			return
		}
		got, err = decode(f.typ, payloadWith(f.typ, f.name, bin("")))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
}
