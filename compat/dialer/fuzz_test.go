package dialer

import (
	"errors"
	"strings"
	"testing"
)

// FuzzParseEndpoint: an endpoint is what it says, whoever wrote it.
func FuzzParseEndpoint(f *testing.F) {
	for _, seed := range []string{
		"https://gw.example.org", "https://GW.example.org.:9443/", "https://192.0.2.7:1", "https://[2001:db8::7]:65535",
		"https://[::ffff:192.0.2.7]:9443", "https://[fe80::1%25eth0]:9443", "https://gw:9443#sha256=" + strings.Repeat("0f", 32),
		"https://gw#sha256=", "https://:9443", "https://gw:0", "https://gw:65536", "http://gw", "https://user@gw", "https://gw/path?q#f", "", "unknown",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEndpoint(text)
		if err != nil {
			if !errors.Is(err, ErrBadEndpoint) {
				t.Fatalf("%q: %v is no ErrBadEndpoint", text, err)
			}
			return
		}
		if e.Host == "" || e.Port == 0 {
			t.Fatalf("%q: %+v leads nowhere", text, e)
		}
		again, err := ParseEndpoint(e.String())
		if err != nil || again != e.Unpinned() {
			t.Fatalf("%q is %v, which is %v (%v)", text, e, again, err)
		}
		pinned, err := ParseEndpoint(e.String() + "#" + Pin{1}.String())
		if err != nil || pinned.Unpinned() != e.Unpinned() || pinned.Pin != (Pin{1}) {
			t.Fatalf("%v with a pin is %v (%v)", e, pinned, err)
		}
	})
}
