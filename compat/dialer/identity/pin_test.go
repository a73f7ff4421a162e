package identity

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

func TestParsePin(t *testing.T) {
	digits := strings.Repeat("0f", 32)
	for text, want := range map[string]bool{
		"sha256=" + digits:                   true,
		"sha256=" + strings.ToUpper(digits):  true,
		digits:                               false,
		"sha256=":                            false,
		"sha256=" + digits[2:]:               false,
		"sha256=" + digits + "00":            false,
		"sha256=g" + digits[1:]:              false,
		"sha1=" + digits:                     false,
		"sha256=" + strings.Repeat("00", 32): false, // would be none
		"":                                   false, // a variable that was not set
	} {
		e, err := ParsePinnedEndpoint("https://a:1#" + text)
		if !want {
			require.ErrorIs(t, err, endpoints.ErrBad, text)
			require.ErrorContains(t, err, "64 hexadecimal digits", text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, "sha256="+digits, e.Pin.String())
		require.Equal(t, endpoints.Endpoint{Host: "a", Port: 1}, e.Endpoint)
		require.Equal(t, "https://a:1", e.String())
	}
}
