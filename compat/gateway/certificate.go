package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

const (
	// CertificateLife is how long a certificate of SelfSign is valid: ten years, as an
	// Erlang node's is.
	CertificateLife = 10 * 365 * 24 * time.Hour

	// clockSkew is how far behind a peer's clock may be for it not to see a certificate of the future.
	clockSkew = 24 * time.Hour
)

// SelfSign returns a certificate for a key, nil for a new one on P-256. Erlang nodes
// verify nothing in it, in their development mode: it lets TLS work, and tells the
// node from others by its key. Keep the key, and the node stays the same to them.
func SelfSign(key crypto.Signer) (tls.Certificate, error) {
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return tls.Certificate{}, fmt.Errorf("generate the key of the TLS certificate: %w", err)
		}
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // at most 20 bytes, not negative
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("choose the serial number of the TLS certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "macula-node"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(CertificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign the TLS certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read back the TLS certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
