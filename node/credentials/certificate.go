package credentials

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/internal/datadir"
)

const (
	// certificateFile is the name, inside a node's data directory, of the self-signed certificate and its key, in PEM.
	// They are one file, so that they are made and replaced together.
	certificateFile = "tls.pem"

	// renewBefore is how long before its end a certificate is made anew: longer than a node runs without a restart.
	renewBefore = 365 * 24 * time.Hour
)

// loadOrCreateCertificate returns the self-signed certificate kept in dir and, at the first start, makes it; of several
// processes that start at once the first wins, as with LoadOrCreateKey. One that is about to expire is made anew for
// the same key, so that the id and the pin by which others know the node stay. A file that everybody can reach, or
// that is damaged, is refused.
func loadOrCreateCertificate(dir string, log *slog.Logger) (tls.Certificate, error) {
	path := filepath.Join(dir, certificateFile)
	cert, err := loadCertificate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createCertificate(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return tls.Certificate{}, fmt.Errorf("keep the TLS certificate in %s (choose a directory this user may write to): %w", dir, err)
		}
		cert, err = loadCertificate(path) // what is on the disk, whoever put it there
	}
	if err != nil || time.Until(cert.Leaf.NotAfter) > renewBefore {
		return cert, err
	}
	old := cert.Leaf.NotAfter
	if cert, err = renewCertificate(path, cert); err != nil {
		return tls.Certificate{}, fmt.Errorf("renew the TLS certificate in %s: %w", dir, err)
	}
	log.Info("TLS certificate made anew for the same key", "file", path, "old_expires", old, "expires", cert.Leaf.NotAfter)
	return cert, nil
}

func loadCertificate(path string) (tls.Certificate, error) {
	data, err := datadir.ReadPrivate("TLS certificate", path)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("TLS certificate %s is corrupt: restore it from a backup, or delete it to start with a new one: %w", path, err)
	}
	return cert, nil
}

func createCertificate(path string) error {
	cert, err := gateway.SelfSign(nil)
	if err != nil {
		return err
	}
	data, err := encodeCertificate(cert)
	if err != nil {
		return err
	}
	return datadir.CreatePrivate(path, data)
}

// renewCertificate replaces a certificate by one for the same key.
func renewCertificate(path string, old tls.Certificate) (tls.Certificate, error) {
	key, ok := old.PrivateKey.(crypto.Signer)
	if !ok {
		return tls.Certificate{}, fmt.Errorf("its key, a %T, does not sign", old.PrivateKey)
	}
	cert, err := gateway.SelfSign(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	data, err := encodeCertificate(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	return cert, datadir.ReplacePrivate(path, data)
}

// encodeCertificate writes a certificate and its key in PEM.
func encodeCertificate(cert tls.Certificate) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	return append(data, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}
