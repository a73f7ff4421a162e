package wire

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseEndpoint(t *testing.T) {
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
		e, err := ParseEndpoint(text)
		require.NoError(t, err, text)
		require.Equal(t, want, e, text)
		again, err := ParseEndpoint(e.String())
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
		"https://" + strings.Repeat("a", MaxField): "263 bytes",
		strings.Repeat("\x00", 1<<20):              "1048576 bytes",
		"https://user@a:1":                         "more than a host",
		"https://[::1":                             "can not be read",
		"https://[fe80::1%25eth0]":                 "has a zone",
		"https://a b:1":                            "can not be read",
		"https://..":                               "neither a DNS name",
		"https://%25":                              "neither a DNS name",
		"https://bücher.example":                   "neither a DNS name",
		"https://" + strings.Repeat("a", 246):      "259 bytes with its port",
		strings.Repeat("a", 10) + ":":              "https://",
	} {
		_, err := ParseEndpoint(text)
		require.ErrorIs(t, err, ErrBadEndpoint, text)
		require.ErrorContains(t, err, why, text)
		require.Less(t, len(err.Error()), 4*MaxField+200, "it is not quoted without end")
	}
}

func TestEndpointOf(t *testing.T) {
	for name, test := range map[string]struct {
		gateway Gateway
		want    string // none: an ErrBadEndpoint
	}{
		"a name":             {Gateway{Host: "GW.example.org.", Port: 9443}, "https://gw.example.org:9443"},
		"an IPv6 address":    {Gateway{Host: "2001:db8::7", Port: 1}, "https://[2001:db8::7]:1"},
		"an IPv4 one within": {Gateway{Host: "::ffff:192.0.2.7", Port: 1}, "https://192.0.2.7:1"},
		"no host":            {Gateway{Port: 9443}, ""},
		"no port":            {Gateway{Host: "gw"}, ""},
		"a port too high":    {Gateway{Host: "gw", Port: 65536 + 9443}, ""},
		"a negative port":    {Gateway{Host: "gw", Port: -1}, ""},
		"a path in the host": {Gateway{Host: "gw/x", Port: 1}, ""},
		"a pin in the host":  {Gateway{Host: "gw#sha256=00", Port: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := EndpointOf(test.gateway)
			if test.want == "" {
				require.ErrorIs(t, err, ErrBadEndpoint)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, e.String())
		})
	}
}

func TestEndpointAddr(t *testing.T) {
	for text, want := range map[string]string{
		"https://192.0.2.7:1":          "192.0.2.7",
		"https://[::ffff:192.0.2.7]:1": "192.0.2.7",
		"https://[2001:DB8::7]:1":      "2001:db8::7",
		"https://gw.example.org:1":     "",
	} {
		e, err := ParseEndpoint(text)
		require.NoError(t, err, text)
		ip, ok := e.Addr()
		require.Equal(t, want != "", ok, text)
		if ok {
			require.Equal(t, netip.MustParseAddr(want), ip, text)
			require.Equal(t, e, EndpointAt(netip.AddrPortFrom(ip, e.Port)), text)
		}
	}
	require.Equal(t, Endpoint{Host: "192.0.2.7", Port: 1}, EndpointAt(netip.MustParseAddrPort("[::ffff:192.0.2.7]:1")))
}

// FuzzParseEndpoint: an endpoint is what it says, whoever wrote it.
func FuzzParseEndpoint(f *testing.F) {
	for _, seed := range []string{
		"https://gw.example.org", "https://GW.example.org.:9443/", "https://192.0.2.7:1", "https://[2001:db8::7]:65535",
		"https://[::ffff:192.0.2.7]:9443", "https://[fe80::1%25eth0]:9443", "https://gw:9443#sha256=" + strings.Repeat("0f", 32),
		"https://gw#", "https://:9443", "https://gw:0", "https://gw:65536", "http://gw", "https://user@gw", "https://gw/path?q#f", "", "unknown",
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
		if err != nil || again != e {
			t.Fatalf("%q is %v, which is %v (%v)", text, e, again, err)
		}
	})
}
