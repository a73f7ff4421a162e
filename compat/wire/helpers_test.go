package wire_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/internal/wiretest"
)

var vectors = sync.OnceValue(func() wiretest.Recorded { return wiretest.Vectors(".") })

func unhex(tb testing.TB, digits string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(tb, err)
	return b
}

// render decodes MessagePack as the vectors render it, by msgp and not by the
// package under test: {"$bin": hex}, {"$str": text}, numbers as json.Number.
func render(b []byte) (v any, rest []byte, err error) {
	switch msgp.NextType(b) {
	case msgp.MapType:
		n, rest, err := msgp.ReadMapHeaderBytes(b)
		m := map[string]any{}
		for range n {
			if err != nil {
				return nil, rest, err
			}
			var k, v any
			if k, rest, err = render(rest); err != nil {
				return nil, rest, err
			}
			v, rest, err = render(rest)
			m[renderKey(k)] = v
		}
		return m, rest, err
	case msgp.ArrayType:
		n, rest, err := msgp.ReadArrayHeaderBytes(b)
		list := []any{}
		for range n {
			if err != nil {
				return nil, rest, err
			}
			var v any
			v, rest, err = render(rest)
			list = append(list, v)
		}
		return list, rest, err
	case msgp.BinType:
		v, rest, err := msgp.ReadBytesZC(b)
		return map[string]any{"$bin": hex.EncodeToString(v)}, rest, err
	case msgp.StrType:
		v, rest, err := msgp.ReadStringBytes(b)
		return map[string]any{"$str": v}, rest, err
	case msgp.IntType:
		v, rest, err := msgp.ReadInt64Bytes(b)
		return json.Number(strconv.FormatInt(v, 10)), rest, err
	case msgp.UintType:
		v, rest, err := msgp.ReadUint64Bytes(b)
		return json.Number(strconv.FormatUint(v, 10)), rest, err
	case msgp.BoolType:
		return readAs(msgp.ReadBoolBytes(b))
	case msgp.Float64Type:
		return readAs(msgp.ReadFloat64Bytes(b))
	case msgp.NilType:
		rest, err := msgp.ReadNilBytes(b)
		return nil, rest, err
	}
	return nil, b, fmt.Errorf("no rendering of %v", msgp.NextType(b))
}

func readAs[T any](v T, rest []byte, err error) (any, []byte, error) { return v, rest, err }

func renderKey(k any) string {
	if m, ok := k.(map[string]any); ok {
		if digits, ok := m["$bin"].(string); ok {
			if text, err := hex.DecodeString(digits); err == nil {
				return string([]rune(string(text))) // what is not UTF-8 is U+FFFD there
			}
		}
	}
	return fmt.Sprint(k)
}

func mustRender(tb testing.TB, b []byte) any {
	tb.Helper()
	v, rest, err := render(b)
	require.NoError(tb, err)
	require.Empty(tb, rest)
	return v
}

// sameMeaning compares two renderings; the empty str is the empty list.
func sameMeaning(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		if len(a) == 1 && a["$str"] == "" {
			list, ok := b.([]any)
			return ok && len(list) == 0 || reflect.DeepEqual(a, b)
		}
		m, ok := b.(map[string]any)
		if !ok || len(m) != len(a) {
			return false
		}
		for k, v := range a {
			if other, ok := m[k]; !ok || !sameMeaning(v, other) {
				return false
			}
		}
		return true
	case []any:
		list, ok := b.([]any)
		if !ok || len(list) != len(a) {
			return false
		}
		for i := range a {
			if !sameMeaning(a[i], list[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// asStr rewrites bin that is valid UTF-8 as str: keys, values or both.
func asStr(tb testing.TB, b []byte, keys, values bool) []byte {
	tb.Helper()
	out, rest := appendAsStr(tb, nil, b, keys, values, false)
	require.Empty(tb, rest)
	return out
}

func appendAsStr(tb testing.TB, out, b []byte, keys, values, isKey bool) (to, rest []byte) {
	switch msgp.NextType(b) {
	case msgp.MapType:
		n, rest, err := msgp.ReadMapHeaderBytes(b)
		require.NoError(tb, err)
		out = msgp.AppendMapHeader(out, n)
		for range n {
			out, rest = appendAsStr(tb, out, rest, keys, values, true)
			out, rest = appendAsStr(tb, out, rest, keys, values, false)
		}
		return out, rest
	case msgp.ArrayType:
		n, rest, err := msgp.ReadArrayHeaderBytes(b)
		require.NoError(tb, err)
		out = msgp.AppendArrayHeader(out, n)
		for range n {
			out, rest = appendAsStr(tb, out, rest, keys, values, false)
		}
		return out, rest
	case msgp.BinType:
		v, rest, err := msgp.ReadBytesZC(b)
		require.NoError(tb, err)
		if (isKey && keys || !isKey && values) && utf8.Valid(v) {
			return msgp.AppendStringFromBytes(out, v), rest
		}
	}
	rest, err := msgp.Skip(b)
	require.NoError(tb, err)
	return append(out, b[:len(b)-len(rest)]...), rest
}

// textsAsBin rewrites every Raw within a message, so that messages can be
// compared whatever form their texts had.
func textsAsBin(tb testing.TB, m wire.Message) wire.Message {
	tb.Helper()
	var visit func(v reflect.Value)
	visit = func(v reflect.Value) {
		switch {
		case v.Type() == reflect.TypeFor[wire.Raw]():
			if raw := v.Interface().(wire.Raw); len(raw) > 0 {
				rewritten, err := wire.TextsAsBin(raw)
				require.NoError(tb, err)
				v.Set(reflect.ValueOf(rewritten))
			}
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				visit(v.Field(i))
			}
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				visit(v.Index(i))
			}
		}
	}
	visit(reflect.ValueOf(m).Elem())
	return m
}

// The forms in which MessagePack may come.
var (
	frame, str, bin, num, float = wiretest.Frame, wiretest.Str, wiretest.Bin, wiretest.Num, wiretest.Float
	list, raw, join, fields     = wiretest.List, wiretest.Raw, wiretest.Join, wiretest.Fields
	nest, allocated             = wiretest.Nest, wiretest.Allocated

	nilValue, aBool, anExt, badText = wiretest.Nil, wiretest.Bool, wiretest.Ext, wiretest.BadText
)
