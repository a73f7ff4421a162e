package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// mesh is a CA whose certificates are files.
type mesh struct {
	t    *testing.T
	dir  string
	root tls.Certificate
	ca   string // its file
}

func newMesh(t *testing.T) *mesh {
	m := &mesh{t: t, dir: t.TempDir()}
	m.root = m.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "mesh CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	m.ca = m.file("ca.pem", "CERTIFICATE", m.root.Certificate[0])
	return m
}

func (m *mesh) sign(template *x509.Certificate) tls.Certificate {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(m.t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(m.t, err)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = template.NotAfter.Add(-48 * time.Hour)
	}
	parent, signer := template, any(key)
	if m.root.Leaf != nil {
		parent, signer = m.root.Leaf, m.root.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(m.t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(m.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (m *mesh) file(name, kind string, der []byte) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	require.NoError(m.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

// issue returns the files of a certificate and of its key.
func (m *mesh) issue(name string, template x509.Certificate) (cert, key string) {
	m.t.Helper()
	c := m.sign(&template)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(m.t, err)
	return m.file(name+".pem", "CERTIFICATE", c.Certificate[0]), m.file(name+".key", "PRIVATE KEY", der)
}

var onlyLoopback = x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}

// What is wrong with a file is said at the start, with its setting and its name.
func TestTLSFiles(t *testing.T) {
	m := newMesh(t)
	cert, key := m.issue("node", onlyLoopback)
	_, otherKey := m.issue("other", onlyLoopback)
	expired, expiredKey := m.issue("expired", x509.Certificate{NotAfter: time.Now().Add(-time.Hour)})
	early, earlyKey := m.issue("early", x509.Certificate{NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})
	none := filepath.Join(m.dir, "none.pem")
	text := filepath.Join(m.dir, "text.pem")
	require.NoError(t, os.WriteFile(text, []byte("no PEM\n"), 0o600))
	open, shared := filepath.Join(m.dir, "open.key"), filepath.Join(m.dir, "shared.key")
	data, err := os.ReadFile(key)
	require.NoError(t, err)
	for path, mode := range map[string]os.FileMode{open: 0o644, shared: 0o640} {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}

	for name, test := range map[string]struct {
		tls     TLS
		unixish bool     // where mode bits mean something
		want    []string // in the error; none: it is fine
	}{
		"nothing":                             {},
		"development":                         {tls: TLS{Mode: "development"}},
		"development with files":              {tls: TLS{CertFile: cert, KeyFile: key}},
		"development, expired":                {tls: TLS{CertFile: expired, KeyFile: expiredKey}},
		"development passes over the CA file": {tls: TLS{CAFile: none}},
		"production":                          {tls: TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: m.ca}},
		"production, short":                   {tls: TLS{Mode: "prod", CertFile: cert, KeyFile: key}},
		"a key shared with a group":           {tls: TLS{CertFile: cert, KeyFile: shared}},

		"no such mode":              {tls: TLS{Mode: "strict"}, want: []string{`TLS mode "strict": write development or production`}},
		"production without files":  {tls: TLS{Mode: "production"}, want: []string{"needs a certificate", "--tls-cert (MACULA_TLS_CERTFILE)", "--tls-key (MACULA_TLS_KEYFILE)"}},
		"a certificate without key": {tls: TLS{CertFile: cert}, want: []string{cert, "set --tls-key (MACULA_TLS_KEYFILE) too"}},
		"a key without certificate": {tls: TLS{Mode: "production", KeyFile: key}, want: []string{key, "set --tls-cert (MACULA_TLS_CERTFILE) too"}},
		"no certificate file, no key file": {tls: TLS{CertFile: none, KeyFile: none + ".key"}, want: []string{
			"MACULA_TLS_CERTFILE) " + none + " can not be read: no such file", "MACULA_TLS_KEYFILE) " + none + ".key can not be read: no such file"}},
		"a directory":               {tls: TLS{CertFile: m.dir, KeyFile: key}, want: []string{"MACULA_TLS_CERTFILE) " + m.dir + " can not be read"}},
		"no PEM":                    {tls: TLS{CertFile: text, KeyFile: key}, want: []string{text, "want a certificate and its key, both in PEM"}},
		"a key for a certificate":   {tls: TLS{CertFile: key, KeyFile: key}, want: []string{key, "both in PEM"}},
		"another certificate's key": {tls: TLS{Mode: "production", CertFile: cert, KeyFile: otherKey}, want: []string{cert, otherKey, "does not match"}},
		"a key open to others":      {tls: TLS{CertFile: cert, KeyFile: open}, unixish: true, want: []string{"chmod 640 " + open, "0644"}},
		"production, expired":       {tls: TLS{Mode: "production", CertFile: expired, KeyFile: expiredKey}, want: []string{"MACULA_TLS_CERTFILE) " + expired + " expired at ", "renewed"}},
		"production, not yet valid": {tls: TLS{Mode: "production", CertFile: early, KeyFile: earlyKey}, want: []string{early + " is not valid before "}},
		"production, no CA file":    {tls: TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: none}, want: []string{"--tls-ca (MACULA_TLS_CACERTFILE) " + none + " can not be read: no such file"}},
		"production, a CA file without certificates": {tls: TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: key}, want: []string{
			"MACULA_TLS_CACERTFILE) " + key + " holds no certificate"}},
		"all that is wrong": {tls: TLS{Mode: "production", CAFile: text}, want: []string{"needs a certificate", text + " holds no certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.unixish && runtime.GOOS == "windows" {
				t.Skip("no mode bits there")
			}
			_, err := Config{Key: newKey(t), TLS: test.tls}.check()
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "TLS: ")
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// Two nodes of one mesh in production verify each other; a stranger is refused.
func TestProduction(t *testing.T) {
	m := newMesh(t)
	cert, key := m.issue("node", onlyLoopback)
	production := TLS{Mode: TLSProduction, CertFile: cert, KeyFile: key, CAFile: m.ca}
	a := startNode(t, func(c *Config) { c.TLS = production })
	b := startNode(t, func(c *Config) { c.TLS = production })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := client.Ping(ctx, a.Dialer(), routing.Contact{Endpoint: b.Endpoint()})
	require.NoError(t, err)
	require.NotNil(t, a.cfg.tls.dialling.Certificate, "shown to a node that asks, as an Erlang node does")
	stranger := startNode(t)
	require.Nil(t, stranger.cfg.tls.dialling.Certificate)
	_, err = client.Ping(ctx, a.Dialer(), routing.Contact{Endpoint: stranger.Endpoint()})
	require.ErrorIs(t, err, identity.ErrCertificate)
	_, err = client.Ping(ctx, stranger.Dialer(), routing.Contact{Endpoint: a.Endpoint()})
	require.NoError(t, err, "development accepts any")
}

// The pin of a bootstrap gateway holds for whoever names that gateway.
func TestPinOfBootstrapGateway(t *testing.T) {
	dir := t.TempDir()
	gateway := startNode(t, func(c *Config) { c.DataDir = dir })
	kept, err := loadCertificate(filepath.Join(dir, certificateFile))
	require.NoError(t, err)
	pin := identity.PinOf(kept.Leaf)
	other := pin
	other[0]++
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, test := range []struct {
		pin  identity.Pin
		want error
	}{{pin, nil}, {other, identity.ErrCertificate}} {
		n := startNode(t, func(c *Config) { c.Bootstrap = []string{gateway.Endpoint() + "#" + test.pin.String()} })
		_, err := client.Ping(ctx, n.Dialer(), routing.Contact{Endpoint: gateway.Endpoint()})
		require.ErrorIs(t, err, test.want)
	}
}

func TestCertificateWarnings(t *testing.T) {
	m := newMesh(t)
	cert, key := m.issue("node", x509.Certificate{DNSNames: []string{"node.example.org"}})
	production := TLS{Mode: TLSProduction, CertFile: cert, KeyFile: key, CAFile: m.ca}
	for name, test := range map[string]struct {
		tls      TLS
		endpoint string
		want     string // in the log; none: nothing of the kind
	}{
		"its name":                  {tls: production, endpoint: "https://node.example.org:9443"},
		"another name":              {tls: production, endpoint: "https://other.example.org:9443", want: "does not name the host"},
		"no endpoint":               {tls: production},
		"a CA file in development":  {tls: TLS{CAFile: m.ca}, want: "CA file not used"},
		"development with any name": {endpoint: "https://node.example.org:9443"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s, err := Config{Key: newKey(t), TLS: test.tls, Log: slog.New(slog.NewTextHandler(&log, nil))}.check()
			require.NoError(t, err)
			_, err = s.tlsCertificate(test.endpoint)
			require.NoError(t, err)
			require.Contains(t, log.String(), `pin="sha256=`)
			if test.want == "" {
				require.NotContains(t, log.String(), "WARN")
			} else {
				require.Contains(t, log.String(), test.want)
			}
		})
	}
}

func TestBootstrapOfBothKinds(t *testing.T) {
	pin := "sha256=" + string(bytes.Repeat([]byte("0f"), 32))
	peerAddr := "/ip6/2001:db8::1/udp/9443/quic-v1/p2p/" + peerOf(t, newKey(t)).String()
	s, err := Config{Key: newKey(t), Bootstrap: []string{
		"https://[2001:db8::7]:4433", peerAddr, "https://gw.example.org", "https://GW.example.org:9443#" + pin, "https://gw.example.org",
	}}.check()
	require.NoError(t, err)
	require.Len(t, s.bootstrap, 1)
	require.Len(t, s.gateways, 2, "each host and port once")
	require.Equal(t, "https://[2001:db8::7]:4433", s.gateways[0].String())
	require.Equal(t, "https://gw.example.org:9443", s.gateways[1].String())
	require.Equal(t, pin, s.gateways[1].Pin.String())

	for text, want := range map[string]string{
		"https://gw.example.org#sha256=00": "no pin",
		"http://gw.example.org":            "does not begin with https://",
		"gw.example.org:9443":              "neither a multiaddr with /p2p nor an endpoint",
		"https://gw.example.org#sha256=" + string(bytes.Repeat([]byte("1f"), 32)): "two pins",
	} {
		_, err := Config{Key: newKey(t), Bootstrap: []string{"https://gw.example.org#" + pin, text}}.check()
		require.ErrorContains(t, err, "bootstrap address")
		require.ErrorContains(t, err, want)
	}
}

func TestPort(t *testing.T) {
	s, err := Config{Key: newKey(t)}.check()
	require.NoError(t, err)
	require.Equal(t, uint16(9443), s.port)
	s, err = Config{Key: newKey(t), Port: 4433}.check()
	require.NoError(t, err)
	require.Equal(t, uint16(4433), s.port)
	require.Equal(t, "/ip4/0.0.0.0/udp/4433/quic-v1", anyAddrs(s.port)[0].String())
	require.Equal(t, "/ip6/::/udp/4433/quic-v1", anyAddrs(s.port)[1].String())
	_, err = Config{Key: newKey(t), Port: 4433, Listen: []string{onLoopback4}}.check()
	require.ErrorContains(t, err, "port 4433 and the listen address "+onLoopback4)
}
