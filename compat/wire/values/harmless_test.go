package values_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
)

func TestHarmless(t *testing.T) {
	id := bin(strings.Repeat("0f", 32))
	str := func(s string) wire.Raw { return append(wire.Raw{0xa0 | byte(len(s))}, s...) }
	record := func(pairs ...any) wire.Raw { return fields(append([]any{"node_id", id}, pairs...)...) }
	for name, test := range map[string]struct {
		value wire.Raw
		wrong string // what the error names; empty for harmless
	}{
		"64 hexadecimal digits":        {record(), ""},
		"32 bytes":                     {fields("node_id", bin(strings.Repeat("\xff", 32))), ""},
		"a service's":                  {record("endpoint", bin("https://192.0.2.1:1"), "metadata", fields(), "ttl", num(300)), ""},
		"a gateway's":                  {record("host", bin("192.0.2.1"), "port", num(9443), "realm", bin("r"), "registered_at", num(5)), ""},
		"a key of 255 bytes":           {record(strings.Repeat("k", 255), num(1)), ""},
		"no node_id":                   {fields("endpoint", bin("https://192.0.2.1:1")), "node_id"},
		"nothing":                      {fields(), "node_id"},
		"a short node_id":              {fields("node_id", bin("me")), "node_id"},
		"31 bytes":                     {fields("node_id", bin(strings.Repeat("x", 31))), "node_id"},
		"a str as node_id":             {fields("node_id", append(wire.Raw{0xd9, 40}, strings.Repeat("x", 40)...)), "node_id"},
		"a number as node_id":          {fields("node_id", num(1)), "node_id"},
		"nil as node_id":               {fields("node_id", wire.Raw{0xc0}), "node_id"},
		"a second node_id, short":      {record("node_id", bin("me")), "node_id"},
		"nil as endpoint":              {record("endpoint", wire.Raw{0xc0}), "endpoint"},
		"a str as endpoint":            {record("endpoint", str("https://x")), "endpoint"},
		"a map as endpoint":            {record("endpoint", fields()), "endpoint"},
		"a number as subscriber_did":   {record("subscriber_did", num(1)), "subscriber_did"},
		"nil as ucan_token":            {record("ucan_token", wire.Raw{0xc0}), "ucan_token"},
		"a key of 256 bytes":           {record(strings.Repeat("k", 256), num(1)), "key of 256 bytes"},
		"a key that is not UTF-8":      {record("\xff\xfe", num(1)), "key"},
		"a key that is a str":          {append(append(wire.Raw{0x82}, record()[1:]...), append(str("k"), 1)...), "key"},
		"a key that is a number":       {append(append(wire.Raw{0x82}, record()[1:]...), 1, 1), "key"},
		"a list":                       {wire.RawArray(), "map"},
		"a damaged map":                {record()[:20], "damaged"},
		"a deeper key is nobody's":     {record("metadata", wire.Raw{0x81, 1, 1}), ""},
		"a deeper node_id is no id":    {fields("metadata", record()), "node_id"},
		"an empty endpoint is skipped": {record("endpoint", bin("")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := values.Harmless(test.value)
			if test.wrong == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, values.ErrHarmful)
			require.ErrorContains(t, err, test.wrong)
		})
	}
	v := record("endpoint", bin("https://192.0.2.1:1"), "metadata", fields("a", num(1)))
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = values.Harmless(v) }))
}
