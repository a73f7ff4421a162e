package interop

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
)

// The frames of this package are written and read by msgp and by hand, not by
// the codec under test. Values are nil, bool, int64, uint64 (above int64),
// float64, bin, str, []any and map[string]any, whose keys are those of bin
// unless they begin with "str:".
type (
	bin string
	str string
	raw []byte // a value as it is encoded, for what no encoder writes

	// What is written: maps with bin and with str for keys, in the order of
	// the keys. What is read is a map[string]any.
	doc    map[string]any
	strDoc map[string]any
)

const header = 8

// The frame types that are looked at.
const (
	tConnect        = 0x01
	tDisconnect     = 0x02
	tPing           = 0x03
	tPong           = 0x04
	tPublish        = 0x10
	tSubscribe      = 0x11
	tUnsubscribe    = 0x12
	tCall           = 0x20
	tReply          = 0x21
	tRPCRequest     = 0x24
	tRPCReply       = 0x25
	tSWIMPing       = 0x30
	tFindNode       = 0x40
	tFindNodeReply  = 0x41
	tStore          = 0x42
	tFindValue      = 0x43
	tFindValueReply = 0x44
	tNATProbe       = 0x50
	tNATProbeReply  = 0x51
	tUnknown        = 0xee
)

// message is a decoded frame.
type message struct {
	Type   byte
	Fields map[string]any
}

// frame returns a frame around a payload.
func frame(typ byte, payload any) []byte {
	b := encode(payload)
	n := len(b)
	return append([]byte{1, typ, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, b...)
}

func encode(v any) []byte { return appendValue(nil, v) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return msgp.AppendNil(b)
	case bool:
		return msgp.AppendBool(b, v)
	case int:
		return msgp.AppendInt64(b, int64(v))
	case int64:
		return msgp.AppendInt64(b, v)
	case uint64:
		return msgp.AppendUint64(b, v)
	case float64:
		return msgp.AppendFloat64(b, v)
	case bin:
		return msgp.AppendBytes(b, []byte(v))
	case str:
		return msgp.AppendString(b, string(v))
	case raw:
		return append(b, v...)
	case []any:
		b = msgp.AppendArrayHeader(b, uint32(len(v)))
		for _, e := range v {
			b = appendValue(b, e)
		}
		return b
	case doc:
		return appendMap(b, v, func(b []byte, k string) []byte { return msgp.AppendBytes(b, []byte(k)) })
	case strDoc:
		return appendMap(b, v, msgp.AppendString)
	}
	panic(fmt.Sprintf("no encoding of %T", v))
}

func appendMap(b []byte, m map[string]any, key func([]byte, string) []byte) []byte {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	b = msgp.AppendMapHeader(b, uint32(len(m)))
	for _, name := range names {
		b = appendValue(key(b, name), m[name])
	}
	return b
}

// decode reads the one value in b.
func decode(b []byte) (any, error) {
	v, rest, err := readValue(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after the value", len(rest))
	}
	return v, err
}

func readValue(b []byte) (v any, rest []byte, err error) {
	switch kind := msgp.NextType(b); kind {
	case msgp.MapType:
		return readMap(b)
	case msgp.ArrayType:
		n, rest, err := msgp.ReadArrayHeaderBytes(b)
		list := []any{}
		for ; err == nil && n > 0; n-- {
			if v, rest, err = readValue(rest); err == nil {
				list = append(list, v)
			}
		}
		return list, rest, err
	case msgp.BinType:
		v, rest, err := msgp.ReadBytesZC(b)
		return bin(v), rest, err
	case msgp.StrType:
		v, rest, err := msgp.ReadStringBytes(b)
		return str(v), rest, err
	case msgp.IntType:
		v, rest, err := msgp.ReadInt64Bytes(b)
		return v, rest, err
	case msgp.UintType:
		v, rest, err := msgp.ReadUint64Bytes(b)
		if v <= math.MaxInt64 {
			return int64(v), rest, err
		}
		return v, rest, err
	case msgp.BoolType:
		v, rest, err := msgp.ReadBoolBytes(b)
		return v, rest, err
	case msgp.Float64Type:
		v, rest, err := msgp.ReadFloat64Bytes(b)
		return v, rest, err
	case msgp.NilType:
		rest, err := msgp.ReadNilBytes(b)
		return nil, rest, err
	default:
		return nil, b, fmt.Errorf("no reading of %v", kind)
	}
}

func readMap(b []byte) (any, []byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	m := map[string]any{}
	for ; err == nil && n > 0; n-- {
		var k, v any
		if k, rest, err = readValue(rest); err != nil {
			break
		}
		if v, rest, err = readValue(rest); err != nil {
			break
		}
		switch k := k.(type) {
		case bin:
			m[string(k)] = v
		case str:
			m["str:"+string(k)] = v
		default:
			return nil, rest, fmt.Errorf("a key of %T", k)
		}
	}
	return m, rest, err
}

// decodeFrames reads the frames that b is made of.
func decodeFrames(tb testing.TB, b []byte) []message {
	tb.Helper()
	list := []message{}
	for len(b) > 0 {
		require.GreaterOrEqual(tb, len(b), header)
		n := header + int(uint32(b[4])<<24|uint32(b[5])<<16|uint32(b[6])<<8|uint32(b[7]))
		require.GreaterOrEqual(tb, len(b), n)
		list = append(list, decodeFrame(tb, b[:n]))
		b = b[n:]
	}
	return list
}

func decodeFrame(tb testing.TB, b []byte) message {
	tb.Helper()
	require.Equal(tb, []byte{1}, b[:1], "version")
	require.Equal(tb, []byte{0, 0}, b[2:4], "flags and reserved")
	v, err := decode(b[header:])
	require.NoError(tb, err)
	fields, ok := v.(map[string]any)
	require.True(tb, ok, "a payload is a map, not %T", v)
	return message{Type: b[1], Fields: fields}
}
