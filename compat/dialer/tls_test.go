package compat

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// authority signs certificates.
type authority struct {
	tb    testing.TB
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	chain [][]byte // below the root, what a leaf is shown with
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	return (&authority{tb: tb}).signCA("root")
}

// intermediate returns an authority that a signs.
func (a *authority) intermediate() *authority {
	ca := a.signCA("intermediate")
	ca.chain = [][]byte{ca.cert.Raw}
	return ca
}

func (a *authority) signCA(name string) *authority {
	ca := &authority{tb: a.tb}
	ca.cert, ca.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return ca
}

// sign signs a certificate; without a key of a's own it signs itself.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.tb, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(a.tb, err)
	template.SerialNumber = serial
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-48 * time.Hour)
	parent, signer := template, key
	if a.key != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(a.tb, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.tb, err)
	return cert, key
}

// leaf returns a certificate with a template's names.
func (a *authority) leaf(template x509.Certificate) tls.Certificate {
	a.tb.Helper()
	cert, key := a.sign(&template)
	return tls.Certificate{Certificate: append([][]byte{cert.Raw}, a.chain...), PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func mustParse(tb testing.TB, endpoint string) Endpoint {
	tb.Helper()
	e, err := ParseEndpoint(endpoint)
	require.NoError(tb, err)
	return e
}

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

// TestCertificates: which of them are accepted, in each mode and by which name.
func TestCertificates(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	byName := ours.leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	byIP := ours.leaf(x509.Certificate{IPAddresses: loopback})
	viaIntermediate := ours.intermediate().leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	incomplete := tls.Certificate{Certificate: viaIntermediate.Certificate[:1], PrivateKey: viaIntermediate.PrivateKey}
	elsewhere := ours.leaf(x509.Certificate{DNSNames: []string{"other.example.org"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)}})
	commonName := ours.leaf(x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}})
	forClients := ours.leaf(x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	expired := ours.leaf(x509.Certificate{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(-time.Hour)})
	stranger := theirs.leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	selfSigned := (&authority{tb: t}).leaf(x509.Certificate{DNSNames: []string{"localhost"}})

	development := TLS{}
	production := TLS{Verify: true, Roots: ours.pool()}
	anyHost := TLS{Verify: true, Roots: ours.pool(), AnyHost: true}
	for name, test := range map[string]struct {
		policy TLS
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
		"production, the system's roots":           {policy: TLS{Verify: true}, cert: byName, host: "localhost", want: []string{"unknown authority"}},
		"production, any host":                     {policy: anyHost, cert: elsewhere, host: "localhost"},
		"production, any host, another authority":  {policy: anyHost, cert: stranger, host: "localhost", want: []string{"unknown authority"}},
		"production, any host, expired":            {policy: anyHost, cert: expired, host: "localhost", want: []string{"expired"}},
		"a pin in development":                     {policy: development, cert: selfSigned, host: "127.0.0.1", pin: &selfSigned},
		"a pin of another key in development":      {policy: development, cert: selfSigned, host: "127.0.0.1", pin: &stranger, want: []string{"pinned is " + PinOf(stranger.Leaf).String()}},
		"a pin instead of a chain in production":   {policy: production, cert: stranger, host: "localhost", pin: &stranger},
		"a pin of another key with a chain":        {policy: production, cert: byName, host: "localhost", pin: &stranger, want: []string{"pinned is " + PinOf(stranger.Leaf).String()}},
		"a pin of the authority's key":             {policy: production, cert: byName, host: "localhost", pin: &tls.Certificate{Leaf: ours.cert}, want: []string{"pinned is"}},
		"a pin does not mind the name nor the age": {policy: production, cert: expired, host: "127.0.0.1", pin: &expired},
	} {
		t.Run(name, func(t *testing.T) {
			e := startErlangWith(t, glass.ServeTLS(ServerTLS(test.cert)))
			endpoint := "https://" + test.host + ":" + portOf(t, e.Endpoint())
			opts := []DialerOption{DialTLS(test.policy)}
			if test.pin != nil {
				opts = append(opts, DialPinned(mustParse(t, endpoint+"#"+PinOf(test.pin.Leaf).String())))
			}
			_, err := maculadht.Ping(testContext(t), newDialer(t, opts...), at(endpoint))
			if test.want == nil {
				require.NoError(t, err)
				require.Equal(t, 1, e.count(wire.TypePing))
				return
			}
			require.ErrorIs(t, err, ErrCertificate)
			require.ErrorIs(t, err, routing.ErrRefused)
			require.NotErrorIs(t, err, routing.ErrUnreachable)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			leaf, parseErr := x509.ParseCertificate(test.cert.Certificate[0])
			require.NoError(t, parseErr)
			require.ErrorContains(t, err, endpoint+"#"+PinOf(leaf).String(), "what was seen can be pinned")
			require.NotContains(t, err.Error(), "CRYPTO_ERROR")
			require.Zero(t, e.count(), "nothing is asked")
		})
	}
}

// One host and port is one link, whatever is pinned; a pin is no peer's to give.
func TestPinsOfContacts(t *testing.T) {
	e := startErlang(t, "127.0.0.1:0")
	leaf, err := x509.ParseCertificate(e.Certificate().Certificate[0])
	require.NoError(t, err)
	pinned := mustParse(t, e.Endpoint()+"#"+PinOf(leaf).String())
	require.Equal(t, e.Endpoint(), pinned.String(), "a pin does not travel")
	require.Equal(t, PinOf(leaf), pinned.Pin)

	d := newDialer(t, DialTLS(TLS{Verify: true, Roots: x509.NewCertPool()}), DialPinned(pinned))
	for _, endpoint := range []string{e.Endpoint(), pinned.String(), e.Endpoint() + "/"} {
		_, err = maculadht.Ping(testContext(t), d, at(endpoint))
		require.NoError(t, err)
	}
	require.Equal(t, 1, e.Stats().Accepted)

	other := newDialer(t, DialTLS(TLS{Verify: true, Roots: x509.NewCertPool()}))
	_, err = maculadht.Ping(testContext(t), other, at(e.Endpoint()+"#"+pinned.Pin.String()))
	require.ErrorIs(t, err, ErrBadEndpoint)
	require.ErrorContains(t, err, "DialPinned")
	require.Zero(t, links(other))
}

// In production a contact keeps the name that its certificate proves, and is
// dialled where it answered.
func TestVerificationOfNames(t *testing.T) {
	ca := newAuthority(t)
	named := ca.leaf(x509.Certificate{DNSNames: []string{"localhost"}})
	production := TLS{Verify: true, Roots: ca.pool()}
	for name, test := range map[string]struct {
		policy TLS
		pin    bool
		want   string // host of the contact; none: not admitted
	}{
		"development keeps the address":         {policy: TLS{}, want: "127.0.0.1"},
		"production keeps the name":             {policy: production, want: "localhost"},
		"production that takes any host":        {policy: TLS{Verify: true, Roots: ca.pool(), AnyHost: true}, want: "127.0.0.1"},
		"production with another CA":            {policy: TLS{Verify: true, Roots: newAuthority(t).pool()}},
		"development with a pin keeps the name": {policy: TLS{}, pin: true, want: "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			e := startErlangWith(t, glass.ServeTLS(ServerTLS(named)))
			endpoint := "https://localhost:" + portOf(t, e.Endpoint())
			opts := []DialerOption{DialTLS(test.policy)}
			if test.pin {
				opts = append(opts, DialPinned(mustParse(t, endpoint+"#"+PinOf(named.Leaf).String())))
			}
			honest := startErlangWith(t, glass.ServeTLS(ServerTLS(named)))
			sure := mustParse(t, honest.Endpoint())
			sure.Pin = PinOf(named.Leaf)
			dialer := newDialer(t, append(opts, DialPinned(sure))...)
			d := openDoor(t, VerifyThrough(dialer))
			s := dialDoor(t, d.addr).open()
			s.connect("a node", endpoint)
			if test.want == "" {
				s.connect("another", honest.Endpoint()) // comes after it
				d.contactOf(t, "another")
				require.Zero(t, e.count())
				_, known := d.server.Contact(routing.IDFromBytes([]byte("a node")))
				require.False(t, known)
				return
			}
			c := d.contactOf(t, "a node")
			require.Equal(t, "https://"+test.want+":"+portOf(t, e.Endpoint()), c.Endpoint)
			require.Equal(t, 1, links(dialer))
			_, err := maculadht.Ping(testContext(t), dialer, c)
			require.NoError(t, err)
			require.Equal(t, 1, links(dialer), "the link of the verification")
			require.Equal(t, 1, e.Stats().Accepted)
			p, err := placeOf(c)
			require.NoError(t, err)
			addrs, err := p.addresses(testContext(t))
			require.NoError(t, err)
			require.Equal(t, strings.TrimPrefix(e.Endpoint(), "https://"), addrs[0].String())
			require.Len(t, addrs, 1)
			e.requireSpared()
		})
	}
}

// A contact's name is not resolved again: it is dialled where it was verified.
func TestVerifiedAddress(t *testing.T) {
	ca := newAuthority(t)
	e := startErlangWith(t, glass.ServeTLS(ServerTLS(ca.leaf(x509.Certificate{DNSNames: []string{"does-not-resolve.invalid"}}))))
	d := newDialer(t, DialTLS(TLS{Verify: true, Roots: ca.pool()}))
	c := at("https://does-not-resolve.invalid:" + portOf(t, e.Endpoint()))
	_, err := maculadht.Ping(testContext(t), d, c)
	require.ErrorIs(t, err, routing.ErrUnreachable)
	_, err = d.settle(mustParse(t, c.Endpoint), netip.MustParseAddrPort(strings.TrimPrefix(e.Endpoint(), "https://")), &c)
	require.NoError(t, err)
	_, err = maculadht.Ping(testContext(t), d, c)
	require.NoError(t, err)
}

// TestServerAsksForNoCertificate: a node that has none is served, and one that
// has any too.
func TestServerAsksForNoCertificate(t *testing.T) {
	shown := newAuthority(t).leaf(x509.Certificate{DNSNames: []string{"client"}})
	for name, cert := range map[string]*tls.Certificate{"none": nil, "one": &shown} {
		t.Run(name, func(t *testing.T) {
			door := openDoor(t)
			_, err := maculadht.Ping(testContext(t), newDialer(t, DialTLS(TLS{Certificate: cert})), at("https://"+door.addr.String()))
			require.NoError(t, err)
		})
	}
	// And a node that asks, as no Erlang one does, is shown ours.
	asking := ServerTLS(certificate())
	asking.ClientAuth = tls.RequireAnyClientCert
	seen := make(chan []byte, 1)
	asking.VerifyPeerCertificate = func(certs [][]byte, _ [][]*x509.Certificate) error {
		seen <- certs[0]
		return nil
	}
	e := startErlangWith(t, glass.ServeTLS(asking))
	_, err := maculadht.Ping(testContext(t), newDialer(t, DialTLS(TLS{Certificate: &shown})), at(e.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, shown.Leaf.Raw, wait(t, seen))
	_, err = maculadht.Ping(testContext(t), newDialer(t), at(e.Endpoint()))
	require.ErrorIs(t, err, routing.ErrUnreachable)
}

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
	} {
		e, err := ParseEndpoint("https://a:1#" + text)
		if !want {
			require.ErrorIs(t, err, ErrBadEndpoint, text)
			require.ErrorContains(t, err, "64 hexadecimal digits", text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, "sha256="+digits, e.Pin.String())
		require.Equal(t, Endpoint{Host: "a", Port: 1}, e.Unpinned())
		require.Equal(t, "https://a:1", e.String())
	}
}

// In production a session goes by the gateway's name, and so do its neighbours.
func TestUplinkInProduction(t *testing.T) {
	ca := newAuthority(t)
	named := func(name string) glass.Option {
		return glass.ServeTLS(ServerTLS(ca.leaf(x509.Certificate{DNSNames: []string{name}})))
	}
	neighbour, impostor := newGlass(t, named("localhost")), newGlass(t, named("elsewhere.example.org"))
	entry := func(g *glass.Gateway) wire.Gateway {
		return wire.Gateway{NodeID: []byte(g.ClientID()), Host: "localhost", Port: int64(g.Addr().Port), Realm: maculadht.DefaultRealm}
	}
	g := newGlass(t, named("localhost"), glass.Neighbours(entry(neighbour), entry(impostor)))
	at := mustParse(t, "https://localhost:"+portOf(t, g.Endpoint()))

	server, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	handlers, err := maculadht.NewHandlers(server, maculadht.HandleEndpoint(func() string { return ourEndpoint }))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		roots  *x509.CertPool
		joined bool
	}{"of the mesh's CA": {ca.pool(), true}, "of another CA": {newAuthority(t).pool(), false}} {
		t.Run(name, func(t *testing.T) {
			dialer := newDialer(t, DialTLS(TLS{Verify: true, Roots: test.roots}))
			u, err := NewUplinks(dialer, handlers, []Endpoint{at})
			require.NoError(t, err)
			t.Cleanup(u.Close)
			if !test.joined {
				_, err := dialer.Reach(testContext(t), at.String())
				require.ErrorIs(t, err, ErrCertificate)
				require.Empty(t, u.Sessions())
				return
			}
			eventually(t, func() bool { return len(u.Sessions()) == 1 && len(server.Contacts()) == 2 }, "a session, and a neighbour")
			require.Equal(t, at.String(), u.Sessions()[0].Endpoint)
			var names []string
			for _, c := range server.Contacts() {
				names = append(names, c.Endpoint)
			}
			require.ElementsMatch(t, []string{at.String(), "https://localhost:" + portOf(t, neighbour.Endpoint())}, names)
		})
	}
	requireUnhurt(t, g, neighbour, impostor)
}

// A pin that nobody checks is no pin.
func TestPinsThatTheDialerDoesNotKnow(t *testing.T) {
	g := newGlass(t)
	pinned := mustParse(t, g.Endpoint()+"#sha256="+strings.Repeat("0f", 32))
	require.True(t, newDialer(t).Holds(pinned.Unpinned()))
	require.True(t, newDialer(t, DialPinned(pinned)).Holds(pinned))
	d := newDialer(t)
	require.False(t, d.Holds(pinned))

	server, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	handlers, err := maculadht.NewHandlers(server)
	require.NoError(t, err)
	_, err = NewUplinks(d, handlers, []Endpoint{pinned})
	require.ErrorContains(t, err, pinned.Pin.String())
	require.ErrorContains(t, err, "DialPinned")
	require.Zero(t, g.Stats().Accepted)
}
