package endpoints

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Endpoint{
		"https://127.0.0.1:9443":          {Host: "127.0.0.1", Port: 9443},
		"https://127.0.0.1":               {Host: "127.0.0.1", Port: 9443},
		"https://127.0.0.1:1/":            {Host: "127.0.0.1", Port: 1},
		"https://[::1]:65535":             {Host: "::1", Port: 65535},
		"https://[::1]":                   {Host: "::1", Port: 9443},
		"https://[0:0::1]:1":              {Host: "::1", Port: 1},
		"https://[::ffff:127.0.0.1]:1":    {Host: "127.0.0.1", Port: 1},
		"https://node.example.org:4001":   {Host: "node.example.org", Port: 4001},
		"https://Node.Example.ORG.:4001":  {Host: "node.example.org", Port: 4001},
		"HTTPS://node-1_a":                {Host: "node-1_a", Port: 9443},
		"https://[2001:DB8::A]:9443":      {Host: "2001:db8::a", Port: 9443},
		"https://xn--nde-sna.example:443": {Host: "xn--nde-sna.example", Port: 443},
	} {
		e, err := Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, e, text)
		again, err := Parse(e.String())
		require.NoError(t, err, text)
		require.Equal(t, e, again, "%s as it travels", text)
	}
	for text, why := range map[string]string{
		"":                      "https://",
		"127.0.0.1:9443":        "can not be read",
		"node.example.org":      "does not begin with https://",
		"http://127.0.0.1:9443": "does not begin with https://",
		"https://":              "has no host",
		"https://.":             "has no host",
		"https://:9443":         "has no host",
		"https://a:0":           "has no port",
		"https://a:65536":       "has no port",
		"https://a:x":           "can not be read",
		"https://a:-1":          "can not be read",
		"https://a:1/path":      "more than a host",
		"https://a:1?q":         "more than a host",
		"https://a:1#f":         "behind a #",
		"https://a:1#":          "behind a #",
		"https://a:1#sha256=00": "only an operator writes a pin",
		"https://a:1?":          "more than a host",
		"https://" + strings.Repeat("a", fields.MaxField): "263 bytes",
		strings.Repeat("\x00", 1<<20):                     "1048576 bytes",
		"https://user@a:1":                                "more than a host",
		"https://[::1":                                    "can not be read",
		"https://[fe80::1%25eth0]":                        "has a zone",
		"https://a b:1":                                   "can not be read",
		"https://..":                                      "neither a DNS name",
		"https://%25":                                     "neither a DNS name",
		"https://bücher.example":                          "neither a DNS name",
		"https://" + strings.Repeat("a", 246):             "259 bytes with its port",
		strings.Repeat("a", 10) + ":":                     "https://",
	} {
		_, err := Parse(text)
		require.ErrorIs(t, err, ErrBad, text)
		require.ErrorContains(t, err, why, text)
		require.Less(t, len(err.Error()), 4*fields.MaxField+200, "it is not quoted without end")
	}
}

func TestEndpointAddr(t *testing.T) {
	for text, want := range map[string]string{
		"https://192.0.2.7:1":          "192.0.2.7",
		"https://[::ffff:192.0.2.7]:1": "192.0.2.7",
		"https://[2001:DB8::7]:1":      "2001:db8::7",
		"https://gw.example.org:1":     "",
	} {
		e, err := Parse(text)
		require.NoError(t, err, text)
		ip, ok := e.Addr()
		require.Equal(t, want != "", ok, text)
		if ok {
			require.Equal(t, netip.MustParseAddr(want), ip, text)
			require.Equal(t, e, At(netip.AddrPortFrom(ip, e.Port)), text)
		}
	}
	require.Equal(t, Endpoint{Host: "192.0.2.7", Port: 1}, At(netip.MustParseAddrPort("[::ffff:192.0.2.7]:1")))
}

// FuzzParse: an endpoint is what it says, whoever wrote it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"https://gw.example.org", "https://GW.example.org.:9443/", "https://192.0.2.7:1", "https://[2001:db8::7]:65535",
		"https://[::ffff:192.0.2.7]:9443", "https://[fe80::1%25eth0]:9443", "https://gw:9443#sha256=" + strings.Repeat("0f", 32),
		"https://gw#", "https://:9443", "https://gw:0", "https://gw:65536", "http://gw", "https://user@gw", "https://gw/path?q#f", "", "unknown",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrBad) {
				t.Fatalf("%q: %v is no ErrBad", text, err)
			}
			return
		}
		if e.Host == "" || e.Port == 0 {
			t.Fatalf("%q: %+v leads nowhere", text, e)
		}
		again, err := Parse(e.String())
		if err != nil || again != e {
			t.Fatalf("%q is %v, which is %v (%v)", text, e, again, err)
		}
	})
}
