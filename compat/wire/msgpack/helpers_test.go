package msgpack_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// The forms in which MessagePack may come, as raw bytes.

func str(text string) msgpack.Raw        { return msgp.AppendString(nil, text) }
func bin(text string) msgpack.Raw        { return msgp.AppendBytes(nil, []byte(text)) }
func num(i int64) msgpack.Raw            { return msgp.AppendInt64(nil, i) }
func float(f float64) msgpack.Raw        { return msgp.AppendFloat64(nil, f) }
func list(vs ...msgpack.Raw) msgpack.Raw { return msgpack.RawArray(vs...) }
func raw(b ...byte) msgpack.Raw          { return b }
func join(parts ...[]byte) []byte        { return bytes.Join(parts, nil) }
func bytesRaw(b byte, n int) msgpack.Raw { return append(bytes.Repeat([]byte{b}, n), 0xc0) }

var (
	nilValue = raw(0xc0)
	aBool    = raw(0xc3)
	anExt    = raw(0xd4, 0x01, 0x02)
	badText  = raw(0xa2, 0xff, 0xfe) // a str that is not UTF-8
)

// fields builds a map of name, value, name, value, with bin for the names.
func fields(kv ...any) msgpack.Raw {
	var pairs []msgpack.Pair
	for i := 0; i < len(kv); i += 2 {
		pairs = append(pairs, msgpack.Pair{Key: kv[i].(string), Value: kv[i+1].(msgpack.Raw)})
	}
	return msgpack.RawMap(pairs...)
}

// asMap builds a map with keys of any kind.
func asMap(kv ...msgpack.Raw) msgpack.Raw {
	b := msgp.AppendMapHeader(nil, uint32(len(kv)/2))
	for _, v := range kv {
		b = append(b, v...)
	}
	return b
}

// nest returns a map of that many levels, the innermost empty.
func nest(levels int) msgpack.Raw {
	v := raw(0x80)
	for range levels - 1 {
		v = fields("a", v)
	}
	return v
}

// recorded returns the payloads that a real Erlang node sent.
func recorded(tb testing.TB) (payloads []msgpack.Raw) {
	tb.Helper()
	text, err := os.ReadFile("../testdata/macula-0.20.3.json")
	require.NoError(tb, err)
	var vectors struct {
		Encode []struct {
			FrameHex string `json:"frame_hex"`
		} `json:"encode"`
	}
	require.NoError(tb, json.Unmarshal(text, &vectors))
	for _, v := range vectors.Encode {
		b, err := hex.DecodeString(v.FrameHex)
		require.NoError(tb, err)
		payloads = append(payloads, b[8:])
	}
	require.NotEmpty(tb, payloads)
	return payloads
}
