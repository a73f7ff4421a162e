package local

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

func TestOneLine(t *testing.T) {
	for name, test := range map[string]struct {
		value wire.Raw
		want  string
	}{
		"a text":            {wire.RawText("21 °C 🌡"), "21 °C 🌡"},
		"no bytes":          {wire.RawText(""), ""},
		"lines":             {wire.RawText("line1\nline2\n"), `"line1\nline2\n"`},
		"what steers":       {wire.RawText("a\tb\x1b[2J"), `"a\tb\u001b[2J"`},
		"what turns around": {wire.RawText("a\u202eb"), `"a\u202eb"`},
		"bytes":             {wire.RawBytes([]byte{0, 0xff}), `{"$bin":"00ff"}`},
		"a number":          {wire.RawInt(-7), "-7"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := oneLine(test.value)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}
