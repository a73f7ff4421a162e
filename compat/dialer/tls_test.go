package dialer

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

func mustParse(tb testing.TB, endpoint string) identity.PinnedEndpoint {
	tb.Helper()
	e, err := identity.ParsePinnedEndpoint(endpoint)
	require.NoError(tb, err)
	return e
}

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

// TestCertificates: which of them are accepted, in each mode and by which name.
func TestCertificates(t *testing.T) {
	ours, theirs := compattest.NewAuthority(t), compattest.NewAuthority(t)
	byName := ours.Leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	byIP := ours.Leaf(x509.Certificate{IPAddresses: loopback})
	viaIntermediate := ours.Intermediate().Leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	incomplete := tls.Certificate{Certificate: viaIntermediate.Certificate[:1], PrivateKey: viaIntermediate.PrivateKey}
	elsewhere := ours.Leaf(x509.Certificate{DNSNames: []string{"other.example.org"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)}})
	commonName := ours.Leaf(x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}})
	forClients := ours.Leaf(x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	expired := ours.Leaf(x509.Certificate{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(-time.Hour)})
	stranger := theirs.Leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	selfSigned := compattest.SelfSigned(t, x509.Certificate{DNSNames: []string{"localhost"}})

	development := identity.TLS{}
	production := identity.TLS{Verify: true, Roots: ours.Pool()}
	anyHost := identity.TLS{Verify: true, Roots: ours.Pool(), AnyHost: true}
	for name, test := range map[string]struct {
		policy identity.TLS
		cert   tls.Certificate
		host   string
		pin    *tls.Certificate
		want   []string // in the refusal; none: accepted
	}{
		"development, self-signed":                 {policy: development, cert: selfSigned, host: "127.0.0.1"},
		"development, expired":                     {policy: development, cert: expired, host: "127.0.0.1"},
		"production, by name":                      {policy: production, cert: byName, host: "localhost"},
		"production, by address":                   {policy: production, cert: byIP, host: "127.0.0.1"},
		"production, with an intermediate":         {policy: production, cert: viaIntermediate, host: "localhost"},
		"production, without the intermediate":     {policy: production, cert: incomplete, host: "localhost", want: []string{"unknown authority"}},
		"production, another name":                 {policy: production, cert: elsewhere, host: "localhost", want: []string{"other.example.org, not localhost", "subject alternative names"}},
		"production, another address":              {policy: production, cert: elsewhere, host: "127.0.0.1", want: []string{"192.0.2.7, not 127.0.0.1"}},
		"production, the address of a name":        {policy: production, cert: byName, host: "127.0.0.1", want: []string{"127.0.0.1"}},
		"production, a common name alone":          {policy: production, cert: commonName, host: "localhost", want: []string{"Common Name"}},
		"production, no certificate of a server":   {policy: production, cert: forClients, host: "localhost", want: []string{"incompatible key usage"}},
		"production, expired":                      {policy: production, cert: expired, host: "localhost", want: []string{"expired"}},
		"production, another authority":            {policy: production, cert: stranger, host: "localhost", want: []string{"unknown authority", "trust its CA"}},
		"production, self-signed":                  {policy: production, cert: selfSigned, host: "localhost", want: []string{"x509: ", "trust its CA"}},
		"production, the system's roots":           {policy: identity.TLS{Verify: true}, cert: byName, host: "localhost", want: []string{"unknown authority"}},
		"production, any host":                     {policy: anyHost, cert: elsewhere, host: "localhost"},
		"production, any host, another authority":  {policy: anyHost, cert: stranger, host: "localhost", want: []string{"unknown authority"}},
		"production, any host, expired":            {policy: anyHost, cert: expired, host: "localhost", want: []string{"expired"}},
		"a pin in development":                     {policy: development, cert: selfSigned, host: "127.0.0.1", pin: &selfSigned},
		"a pin of another key in development":      {policy: development, cert: selfSigned, host: "127.0.0.1", pin: &stranger, want: []string{"pinned is " + identity.PinOf(stranger.Leaf).String()}},
		"a pin instead of a chain in production":   {policy: production, cert: stranger, host: "localhost", pin: &stranger},
		"a pin of another key with a chain":        {policy: production, cert: byName, host: "localhost", pin: &stranger, want: []string{"pinned is " + identity.PinOf(stranger.Leaf).String()}},
		"a pin of the authority's key":             {policy: production, cert: byName, host: "localhost", pin: &tls.Certificate{Leaf: ours.Cert}, want: []string{"pinned is"}},
		"a pin does not mind the name nor the age": {policy: production, cert: expired, host: "127.0.0.1", pin: &expired},
	} {
		t.Run(name, func(t *testing.T) {
			e := compattest.StartErlangWith(t, glass.ServeTLS(serverTLS(test.cert)))
			endpoint := "https://" + test.host + ":" + compattest.PortOf(t, e.Endpoint())
			opts := []Option{WithTLS(test.policy)}
			if test.pin != nil {
				opts = append(opts, WithPins(mustParse(t, endpoint+"#"+identity.PinOf(test.pin.Leaf).String())))
			}
			_, err := client.Ping(compattest.Context(t), newDialer(t, opts...), compattest.At(endpoint))
			if test.want == nil {
				require.NoError(t, err)
				require.Equal(t, 1, e.Count(wire.TypePing))
				return
			}
			require.ErrorIs(t, err, identity.ErrCertificate)
			require.ErrorIs(t, err, proto.ErrRefused)
			require.NotErrorIs(t, err, proto.ErrUnreachable)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			leaf, parseErr := x509.ParseCertificate(test.cert.Certificate[0])
			require.NoError(t, parseErr)
			require.ErrorContains(t, err, endpoint+"#"+identity.PinOf(leaf).String(), "what was seen can be pinned")
			require.NotContains(t, err.Error(), "CRYPTO_ERROR")
			require.Zero(t, e.Count(), "nothing is asked")
		})
	}
}

// One host and port is one link, whatever is pinned; a pin is no peer's to give.
func TestPinsOfContacts(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	leaf, err := x509.ParseCertificate(e.Certificate().Certificate[0])
	require.NoError(t, err)
	pinned := mustParse(t, e.Endpoint()+"#"+identity.PinOf(leaf).String())
	require.Equal(t, e.Endpoint(), pinned.String(), "a pin does not travel")
	require.Equal(t, identity.PinOf(leaf), pinned.Pin)

	d := newDialer(t, WithTLS(identity.TLS{Verify: true, Roots: x509.NewCertPool()}), WithPins(pinned))
	for _, endpoint := range []string{e.Endpoint(), pinned.String(), e.Endpoint() + "/"} {
		_, err = client.Ping(compattest.Context(t), d, compattest.At(endpoint))
		require.NoError(t, err)
	}
	require.Equal(t, 1, e.Stats().Accepted)

	other := newDialer(t, WithTLS(identity.TLS{Verify: true, Roots: x509.NewCertPool()}))
	_, err = client.Ping(compattest.Context(t), other, compattest.At(e.Endpoint()+"#"+pinned.Pin.String()))
	require.ErrorIs(t, err, endpoints.ErrBad)
	require.ErrorContains(t, err, "only an operator writes a pin")
	require.Zero(t, links(other))
}

// In production a contact keeps the name that its certificate proves, and is
// dialled where it answered.
func TestVerificationOfNames(t *testing.T) {
	ca := compattest.NewAuthority(t)
	named := ca.Leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	production := identity.TLS{Verify: true, Roots: ca.Pool()}
	for name, test := range map[string]struct {
		policy identity.TLS
		pin    bool
		want   string // host of the contact; none: not admitted
	}{
		"development keeps the address":         {policy: identity.TLS{}, want: "127.0.0.1"},
		"production keeps the name":             {policy: production, want: "localhost"},
		"production that takes any host":        {policy: identity.TLS{Verify: true, Roots: ca.Pool(), AnyHost: true}, want: "127.0.0.1"},
		"production with another CA":            {policy: identity.TLS{Verify: true, Roots: compattest.NewAuthority(t).Pool()}},
		"development with a pin keeps the name": {policy: identity.TLS{}, pin: true, want: "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			e := compattest.StartErlangWith(t, glass.ServeTLS(serverTLS(named)))
			endpoint := "https://localhost:" + compattest.PortOf(t, e.Endpoint())
			opts := []Option{WithTLS(test.policy)}
			if test.pin {
				opts = append(opts, WithPins(mustParse(t, endpoint+"#"+identity.PinOf(named.Leaf).String())))
			}
			d := newDialer(t, opts...)
			c, err := d.Verify(compattest.Context(t), compattest.At(endpoint), func(netip.Addr) bool { return true })
			if test.want == "" {
				require.ErrorIs(t, err, identity.ErrCertificate)
				require.Zero(t, e.Count())
				return
			}
			require.NoError(t, err)
			require.True(t, c.Verified)
			require.Equal(t, "https://"+test.want+":"+compattest.PortOf(t, e.Endpoint()), c.Endpoint)
			require.Equal(t, 1, links(d))
			_, err = client.Ping(compattest.Context(t), d, c)
			require.NoError(t, err)
			require.Equal(t, 1, links(d), "the link of the verification")
			require.Equal(t, 1, e.Stats().Accepted)
			p, err := placeOf(c)
			require.NoError(t, err)
			addrs, err := p.addresses(compattest.Context(t), net.DefaultResolver)
			require.NoError(t, err)
			require.Equal(t, strings.TrimPrefix(e.Endpoint(), "https://"), addrs[0].String())
			require.Len(t, addrs, 1)
			e.RequireSpared()
		})
	}
}

// A contact's name is not resolved again: it is dialled where it was verified.
func TestVerifiedAddress(t *testing.T) {
	ca := compattest.NewAuthority(t)
	e := compattest.StartErlangWith(t, glass.ServeTLS(serverTLS(ca.Leaf(x509.Certificate{DNSNames: []string{"does-not-resolve.invalid"}}))))
	d := newDialer(t, WithTLS(identity.TLS{Verify: true, Roots: ca.Pool()}))
	c := compattest.At("https://does-not-resolve.invalid:" + compattest.PortOf(t, e.Endpoint()))
	_, err := client.Ping(compattest.Context(t), d, c)
	require.ErrorIs(t, err, proto.ErrUnreachable)
	_, err = d.settle(mustParse(t, c.Endpoint).Endpoint, netip.MustParseAddrPort(strings.TrimPrefix(e.Endpoint(), "https://")), &c)
	require.NoError(t, err)
	_, err = client.Ping(compattest.Context(t), d, c)
	require.NoError(t, err)
}
