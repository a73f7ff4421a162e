package identity

import (
	"errors"
	"strings"
	"testing"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// FuzzParsePinnedEndpoint: what is read is what an operator wrote.
func FuzzParsePinnedEndpoint(f *testing.F) {
	for _, seed := range []string{
		"https://gw.example.org", "https://gw:9443#sha256=" + strings.Repeat("0f", 32), "https://gw#sha256=", "https://gw#",
		"https://gw/path?q#f", "#sha256=" + strings.Repeat("0f", 32), "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParsePinnedEndpoint(text)
		if err != nil {
			if !errors.Is(err, endpoints.ErrBad) {
				t.Fatalf("%q: %v is no ErrBadEndpoint", text, err)
			}
			return
		}
		if strings.Contains(text, "#") == e.Pin.IsZero() {
			t.Fatalf("%q: %+v", text, e)
		}
		pinned, err := ParsePinnedEndpoint(e.String() + "#" + Pin{1}.String())
		if err != nil || pinned.Endpoint != e.Endpoint || pinned.Pin != (Pin{1}) {
			t.Fatalf("%v with a pin is %v (%v)", e, pinned, err)
		}
	})
}
