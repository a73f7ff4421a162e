package credentials

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// TLSMode says how this node and Erlang nodes know each other: Macula's
// MACULA_TLS_MODE.
type TLSMode string

const (
	// TLSDevelopment has the node show a certificate that it signed itself, or
	// the one it is given, and accept any. It is what an Erlang node does where
	// nothing else is said.
	TLSDevelopment TLSMode = "development"
	// TLSProduction has the node show the certificate it is given, and verify
	// those of the nodes that it dials.
	TLSProduction TLSMode = "production"
)

// ParseTLSMode reads a mode as Macula does: development or dev, production or
// prod.
func ParseTLSMode(text string) (TLSMode, error) {
	switch text {
	case "development", "dev":
		return TLSDevelopment, nil
	case "production", "prod":
		return TLSProduction, nil
	}
	return "", fmt.Errorf("TLS mode %q: write development or production", text)
}

// TLS says what this node shows to Erlang nodes and what it accepts from them.
// The zero value is development mode. Files are read when the node starts.
type TLS struct {
	// Mode: empty is TLSDevelopment.
	Mode TLSMode
	// CertFile and KeyFile are what Erlang nodes are shown, in PEM: the
	// certificate with its chain, and its key, which others than its owner and
	// group must not reach. In production mode they are needed; in development
	// mode without them a certificate is made and kept in the data directory.
	CertFile, KeyFile string
	// CAFile holds, in PEM, the roots that production mode trusts; empty means
	// those of the system.
	CAFile string
	// AnyHost has production mode verify the chain and not the host name.
	AnyHost bool
}

// Where the settings come from, as an operator knows them.
const (
	certSetting = "--tls-cert (MACULA_TLS_CERTFILE)"
	keySetting  = "--tls-key (MACULA_TLS_KEYFILE)"
	caSetting   = "--tls-ca (MACULA_TLS_CACERTFILE)"
)

// Dialling returns which certificates are accepted from the nodes that are
// dialled. It reads CAFile; the other files are for those who are listened to.
func (t TLS) Dialling() (identity.TLS, error) {
	mode, err := t.mode()
	if err != nil || mode == TLSDevelopment {
		return identity.TLS{}, err
	}
	roots, err := t.roots()
	if err != nil {
		return identity.TLS{}, err
	}
	return identity.TLS{Verify: true, Roots: roots, AnyHost: t.AnyHost}, nil
}

func (t TLS) mode() (TLSMode, error) {
	if t.Mode == "" {
		return TLSDevelopment, nil
	}
	return ParseTLSMode(string(t.Mode))
}

func (t TLS) roots() (*x509.CertPool, error) {
	if t.CAFile == "" {
		return nil, nil // the system's
	}
	data, err := readSetting(caSetting, t.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s %s holds no certificate: want those of the CAs that are trusted, in PEM", caSetting, t.CAFile)
	}
	return roots, nil
}

// certificate returns the certificate that was given, or nil if the node is to
// make its own.
func (t TLS) certificate() (*tls.Certificate, error) {
	mode, err := t.mode()
	switch {
	case err != nil:
		return nil, err
	case t.CertFile == "" && t.KeyFile == "" && mode == TLSDevelopment:
		return nil, nil
	case t.CertFile == "" && t.KeyFile == "":
		return nil, fmt.Errorf("production mode needs a certificate: set %s and %s", certSetting, keySetting)
	case t.CertFile == "":
		return nil, fmt.Errorf("%s %s is without its certificate: set %s too", keySetting, t.KeyFile, certSetting)
	case t.KeyFile == "":
		return nil, fmt.Errorf("%s %s is without its key: set %s too", certSetting, t.CertFile, keySetting)
	}
	certPEM, certErr := readSetting(certSetting, t.CertFile)
	keyPEM, keyErr := readKey(t.KeyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s %s with %s %s: want a certificate and its key, both in PEM: %w", certSetting, t.CertFile, keySetting, t.KeyFile, err)
	}
	now := time.Now()
	switch {
	case mode == TLSDevelopment: // nobody verifies it
	case now.After(cert.Leaf.NotAfter):
		return nil, fmt.Errorf("%s %s expired at %s: have it renewed", certSetting, t.CertFile, cert.Leaf.NotAfter.Format(time.RFC3339))
	case now.Before(cert.Leaf.NotBefore):
		return nil, fmt.Errorf("%s %s is not valid before %s: is the clock right?", certSetting, t.CertFile, cert.Leaf.NotBefore.Format(time.RFC3339))
	}
	return &cert, nil
}

func readSetting(setting, path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("%s %s can not be read: %w", setting, path, failed.Err)
	}
	return data, err
}

// readKey reads a private key. Unlike the identity key it may be shared with a
// group: that is how programs get at keys that a CA's client keeps.
func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o027 != 0 {
		return nil, fmt.Errorf("%s %s is open to others (mode %#o): run chmod 640 %s", keySetting, path, info.Mode().Perm(), path)
	}
	return readSetting(keySetting, path)
}

// Credentials are what a node shows to Erlang nodes, and what it accepts from those
// that it dials.
type Credentials struct {
	// Dialling is which certificates are accepted.
	Dialling identity.TLS

	given  *tls.Certificate // nil: the node makes its own
	caFile string
}

// Load reads the files, or says all that is wrong with them.
func (t TLS) Load() (Credentials, error) {
	if _, err := t.mode(); err != nil {
		return Credentials{}, err
	}
	cert, certErr := t.certificate()
	dialling, err := t.Dialling()
	if dialling.Verify {
		dialling.Certificate = cert // as an Erlang node does in production mode
	}
	return Credentials{dialling, cert, t.CAFile}, errors.Join(certErr, err)
}

// Certificate returns what Erlang nodes are shown who dial an endpoint: the
// certificate that was given, else one that the node signed itself, which dataDir
// keeps; where that is empty it is another one each time.
func (c Credentials) Certificate(endpoint, dataDir string, log *slog.Logger) (cert tls.Certificate, err error) {
	switch {
	case c.given != nil:
		cert = *c.given
	case dataDir != "":
		cert, err = loadOrCreateCertificate(dataDir, log)
	default:
		cert, err = gateway.SelfSign(nil)
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	verifies := c.Dialling.Verify
	log.Info("certificate for Erlang nodes", "pin", identity.PinOf(cert.Leaf), "expires", cert.Leaf.NotAfter, "verifies_others", verifies)
	if !verifies {
		if c.caFile != "" {
			log.Warn("CA file not used: the TLS mode is development, which verifies nothing", "file", c.caFile)
		}
		return cert, nil
	}
	if e, err := endpoints.Parse(endpoint); err == nil && cert.Leaf.VerifyHostname(e.Host) != nil {
		log.Warn("the certificate does not name the host that others dial: those who verify it will not connect", "endpoint", e)
	}
	return cert, nil
}
