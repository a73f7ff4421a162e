package msgpack_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// FuzzFromJSON: what is taken is JSON, is sound MessagePack without str, and
// shows as JSON that gives the same again.
func FuzzFromJSON(f *testing.F) {
	for _, text := range []string{
		`null`, `[true,false,null,0,-1,1.5,1e9,"a"]`, `{"a":{"$bin":"00ff"},"b":[{}]}`, `{"$bin":"zz"}`, `{"a":1,"a":2}`,
		`[1,]`, `[1 2]`, `{"a" 1}`, `18446744073709551616`, `"\ud800"`, `{"":{"":[]}}`, `[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]`,
		`{"$bin":"00","a":1}`, `{"$bin":{"$bin":"3030"}}`, `{"$bin":"00","$bin":"01"}`,
	} {
		f.Add([]byte(text))
	}
	for _, payload := range recorded(f) {
		if text, err := payload.MarshalJSON(); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := msgpack.FromJSON(text)
		if err != nil {
			require.Nil(t, v)
			return
		}
		require.True(t, json.Valid(text))
		bins, err := msgpack.TextsAsBin(v)
		require.NoError(t, err)
		require.Same(t, &v[0], &bins[0], "all texts are bin")
		require.LessOrEqual(t, len(v), 5*len(text)+9)

		shown, err := v.MarshalJSON()
		require.NoError(t, err)
		v2, err := msgpack.FromJSON(shown)
		if bytes.Contains(v, []byte("$bin")) {
			return // a key that is said twice, or text that is none, can mean something else the second time
		}
		require.NoError(t, err)
		shown2, err := v2.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, string(shown), string(shown2))
		if f, isFloat := floatOf(v); isFloat {
			g, isFloat := floatOf(v2)
			require.True(t, !isFloat || f == g, "%v became %v", f, g)
		}
	})
}

func floatOf(v msgpack.Raw) (float64, bool) {
	if v.Kind() != msgpack.Float || v[0] != 0xcb {
		return 0, false
	}
	return math.Float64frombits(binary.BigEndian.Uint64(v[1:])), true
}
