// Package credentialstest issues the certificates of a mesh, for tests.
package credentialstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// OnlyLoopback is a template for who is on loopback.
var OnlyLoopback = x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}

// Mesh is a CA whose certificates are files.
type Mesh struct {
	Dir string
	CA  string // its file

	tb   testing.TB
	root tls.Certificate
}

// NewMesh returns a CA whose files go with the test.
func NewMesh(tb testing.TB) *Mesh {
	tb.Helper()
	m := &Mesh{tb: tb, Dir: tb.TempDir()}
	m.root = m.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "mesh CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	m.CA = m.file("ca.pem", "CERTIFICATE", m.root.Certificate[0])
	return m
}

func (m *Mesh) sign(template *x509.Certificate) tls.Certificate {
	m.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(m.tb, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(m.tb, err)
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
	require.NoError(m.tb, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(m.tb, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (m *Mesh) file(name, kind string, der []byte) string {
	m.tb.Helper()
	path := filepath.Join(m.Dir, name)
	require.NoError(m.tb, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

// Issue signs a certificate by a template, for an hour unless that says otherwise, and returns
// the files of it and of its key.
func (m *Mesh) Issue(name string, template x509.Certificate) (cert, key string) {
	m.tb.Helper()
	c := m.sign(&template)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(m.tb, err)
	return m.file(name+".pem", "CERTIFICATE", c.Certificate[0]), m.file(name+".key", "PRIVATE KEY", der)
}
