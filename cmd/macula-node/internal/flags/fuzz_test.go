package flags

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// FuzzKey: a key that is printed is read as the same key, and any bytes have a text.
func FuzzKey(f *testing.F) {
	for _, text := range []string{"greeter", "0x00ff", "0x", "0xzz", "2744ccd10c7533bd736ad890f9dd5cab2adb27b07d500b9493f29cdc420cb2e0", "--help", "https://a", "/ip4/1.2.3.4", "a b", "\xff", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, b := range [][]byte{[]byte(text), parsed(text)} {
			if len(b) == 0 || len(b) > wire.MaxField {
				continue
			}
			again, err := ParseKey(keyText(b))
			require.NoError(t, err)
			require.Equal(t, b, again)
			require.False(t, isAddr(keyText(b)))
		}
	})
}

func parsed(text string) []byte {
	b, err := ParseKey(text)
	if err != nil {
		return nil
	}
	return b
}

// FuzzValue: a value that is typed is one that may be stored, or wrong usage.
func FuzzValue(f *testing.F) {
	for _, text := range []string{ExampleValue, `{}`, `{"ttl": 0}`, `{"ttl": 1e3}`, `{"a": {"$bin": "00ff"}}`, `[]`, `{"a":1,"a":2}`, `{`, ``} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseValue(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.LessOrEqual(t, len(v.Raw), values.MaxSize)
		require.Positive(t, v.TTL)
		again, err := values.Parse(v.Raw)
		require.NoError(t, err)
		require.Equal(t, v, again)
	})
}
