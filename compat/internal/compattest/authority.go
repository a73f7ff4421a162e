package compattest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Authority signs certificates.
type Authority struct {
	tb    testing.TB
	Cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	chain [][]byte // below the root, what a leaf is shown with
}

// NewAuthority returns an authority with a root of its own.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	return (&Authority{tb: tb}).signCA("root")
}

// Intermediate returns an authority that a signs.
func (a *Authority) Intermediate() *Authority {
	ca := a.signCA("intermediate")
	ca.chain = [][]byte{ca.Cert.Raw}
	return ca
}

func (a *Authority) signCA(name string) *Authority {
	ca := &Authority{tb: a.tb}
	ca.Cert, ca.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return ca
}

// sign signs a certificate; without a key of a's own it signs itself.
func (a *Authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
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
		parent, signer = a.Cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(a.tb, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.tb, err)
	return cert, key
}

// SelfSigned returns a certificate with a template's names that signed itself.
func SelfSigned(tb testing.TB, template x509.Certificate) tls.Certificate {
	tb.Helper()
	return (&Authority{tb: tb}).Leaf(template)
}

// Leaf returns a certificate with a template's names.
func (a *Authority) Leaf(template x509.Certificate) tls.Certificate {
	a.tb.Helper()
	cert, key := a.sign(&template)
	return tls.Certificate{Certificate: append([][]byte{cert.Raw}, a.chain...), PrivateKey: key, Leaf: cert}
}

// Pool returns the roots that trust a.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}
