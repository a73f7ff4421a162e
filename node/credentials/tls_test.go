package credentials_test

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

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/credentials"
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
		tls     credentials.TLS
		unixish bool     // where mode bits mean something
		want    []string // in the error; none: it is fine
	}{
		"nothing":                             {},
		"development":                         {tls: credentials.TLS{Mode: "development"}},
		"development with files":              {tls: credentials.TLS{CertFile: cert, KeyFile: key}},
		"development, expired":                {tls: credentials.TLS{CertFile: expired, KeyFile: expiredKey}},
		"development passes over the CA file": {tls: credentials.TLS{CAFile: none}},
		"production":                          {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: m.ca}},
		"production, short":                   {tls: credentials.TLS{Mode: "prod", CertFile: cert, KeyFile: key}},
		"a key shared with a group":           {tls: credentials.TLS{CertFile: cert, KeyFile: shared}},

		"no such mode":              {tls: credentials.TLS{Mode: "strict"}, want: []string{`TLS mode "strict": write development or production`}},
		"production without files":  {tls: credentials.TLS{Mode: "production"}, want: []string{"needs a certificate", "--tls-cert (MACULA_TLS_CERTFILE)", "--tls-key (MACULA_TLS_KEYFILE)"}},
		"a certificate without key": {tls: credentials.TLS{CertFile: cert}, want: []string{cert, "set --tls-key (MACULA_TLS_KEYFILE) too"}},
		"a key without certificate": {tls: credentials.TLS{Mode: "production", KeyFile: key}, want: []string{key, "set --tls-cert (MACULA_TLS_CERTFILE) too"}},
		"no certificate file, no key file": {tls: credentials.TLS{CertFile: none, KeyFile: none + ".key"}, want: []string{
			"MACULA_TLS_CERTFILE) " + none + " can not be read: no such file", "MACULA_TLS_KEYFILE) " + none + ".key can not be read: no such file"}},
		"a directory":               {tls: credentials.TLS{CertFile: m.dir, KeyFile: key}, want: []string{"MACULA_TLS_CERTFILE) " + m.dir + " can not be read"}},
		"no PEM":                    {tls: credentials.TLS{CertFile: text, KeyFile: key}, want: []string{text, "want a certificate and its key, both in PEM"}},
		"a key for a certificate":   {tls: credentials.TLS{CertFile: key, KeyFile: key}, want: []string{key, "both in PEM"}},
		"another certificate's key": {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: otherKey}, want: []string{cert, otherKey, "does not match"}},
		"a key open to others":      {tls: credentials.TLS{CertFile: cert, KeyFile: open}, unixish: true, want: []string{"chmod 640 " + open, "0644"}},
		"production, expired":       {tls: credentials.TLS{Mode: "production", CertFile: expired, KeyFile: expiredKey}, want: []string{"MACULA_TLS_CERTFILE) " + expired + " expired at ", "renewed"}},
		"production, not yet valid": {tls: credentials.TLS{Mode: "production", CertFile: early, KeyFile: earlyKey}, want: []string{early + " is not valid before "}},
		"production, no CA file":    {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: none}, want: []string{"--tls-ca (MACULA_TLS_CACERTFILE) " + none + " can not be read: no such file"}},
		"production, a CA file without certificates": {tls: credentials.TLS{Mode: "production", CertFile: cert, KeyFile: key, CAFile: key}, want: []string{
			"MACULA_TLS_CACERTFILE) " + key + " holds no certificate"}},
		"all that is wrong": {tls: credentials.TLS{Mode: "production", CAFile: text}, want: []string{"needs a certificate", text + " holds no certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.unixish && runtime.GOOS == "windows" {
				t.Skip("no mode bits there")
			}
			_, err := test.tls.Load()
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// startNode runs a node on loopback.
func startNode(t *testing.T, tls credentials.TLS) *node.Node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	n, err := node.New(node.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, TLS: tls, Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// Two nodes of one mesh in production verify each other; a stranger is refused.
func TestProduction(t *testing.T) {
	m := newMesh(t)
	cert, key := m.issue("node", onlyLoopback)
	production := credentials.TLS{Mode: credentials.TLSProduction, CertFile: cert, KeyFile: key, CAFile: m.ca}
	a, b, stranger := startNode(t, production), startNode(t, production), startNode(t, credentials.TLS{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Ping(ctx, a.Dialer(), routing.Contact{Endpoint: b.Endpoint()})
	require.NoError(t, err)
	loaded, err := production.Load()
	require.NoError(t, err)
	require.NotNil(t, loaded.Dialling.Certificate, "shown to a node that asks, as an Erlang node does")
	loaded, err = credentials.TLS{}.Load()
	require.NoError(t, err)
	require.Nil(t, loaded.Dialling.Certificate)
	_, err = client.Ping(ctx, a.Dialer(), routing.Contact{Endpoint: stranger.Endpoint()})
	require.ErrorIs(t, err, identity.ErrCertificate)
	_, err = client.Ping(ctx, stranger.Dialer(), routing.Contact{Endpoint: a.Endpoint()})
	require.NoError(t, err, "development accepts any")
}

func TestCertificateWarnings(t *testing.T) {
	m := newMesh(t)
	cert, key := m.issue("node", x509.Certificate{DNSNames: []string{"node.example.org"}})
	production := credentials.TLS{Mode: credentials.TLSProduction, CertFile: cert, KeyFile: key, CAFile: m.ca}
	for name, test := range map[string]struct {
		tls      credentials.TLS
		endpoint string
		want     string // in the log; none: nothing of the kind
	}{
		"its name":                  {tls: production, endpoint: "https://node.example.org:9443"},
		"another name":              {tls: production, endpoint: "https://other.example.org:9443", want: "does not name the host"},
		"no endpoint":               {tls: production},
		"a CA file in development":  {tls: credentials.TLS{CAFile: m.ca}, want: "CA file not used"},
		"development with any name": {endpoint: "https://node.example.org:9443"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			c, err := test.tls.Load()
			require.NoError(t, err)
			_, err = c.Certificate(test.endpoint, "", slog.New(slog.NewTextHandler(&log, nil)))
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
