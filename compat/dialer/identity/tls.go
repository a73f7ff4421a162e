package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// ErrCertificate: the node at an endpoint shows a certificate that is not the
// one wanted, so nothing was asked of it. It is a proto.ErrRefused too.
var ErrCertificate error = &proto.RefusedError{Reason: "its certificate is not accepted"}

// TLS says which certificates are accepted from the nodes that are dialled. The
// zero value is Macula's development mode: any is.
//
// In production mode (Verify) it is as with an Erlang node: the chain must lead
// to a root, and the leaf must name the host that was dialled, by a DNS or IP
// address in its subject alternative names. A Pin (see Policy) takes the
// place of both, in either mode.
type TLS struct {
	Verify  bool           // the certificate's chain and host
	Roots   *x509.CertPool // nil: those of the system
	AnyHost bool           // with Verify: the chain alone
	// Certificate is shown to a node that asks for one, nil for none. No Erlang
	// node of v0.20.x asks: its listener sets no verification in any mode.
	Certificate *tls.Certificate
}

// Check refuses what to verify of a certificate where none is verified.
func (t TLS) Check() error {
	if !t.Verify && (t.Roots != nil || t.AnyHost) {
		return errors.New("TLS says what to verify of a certificate and not that it is verified")
	}
	return nil
}

// Policy is whom a node that is dialled is taken for: by its certificate, or by a
// Pin of its endpoint.
type Policy struct {
	TLS  TLS
	pins map[endpoints.Endpoint]Pin
}

// Pin holds the endpoints that have a Pin to it, whatever TLS says. Two pins of one
// endpoint are an error.
func (p *Policy) Pin(pinned ...PinnedEndpoint) error {
	for _, e := range pinned {
		if e.Pin.IsZero() {
			continue
		}
		if other, there := p.pins[e.Endpoint]; there && other != e.Pin {
			return fmt.Errorf("%s has two pins, %s and %s", e, other, e.Pin)
		}
		if p.pins == nil {
			p.pins = make(map[endpoints.Endpoint]Pin)
		}
		p.pins[e.Endpoint] = e.Pin
	}
	return nil
}

// Holds reports whether the node at an endpoint is held to the Pin that is in it, as
// Pin was told. One without a Pin is.
func (p *Policy) Holds(e PinnedEndpoint) bool {
	return e.Pin.IsZero() || p.pins[e.Endpoint] == e.Pin
}

// CertificateError is an ErrCertificate with what was seen and what to do about it.
type CertificateError struct {
	text  string
	cause error // or nil
}

// Error implements error.
func (e *CertificateError) Error() string { return ErrCertificate.Error() + ": " + e.text }

// Unwrap returns ErrCertificate, and what was wrong with the certificate.
func (e *CertificateError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrCertificate}
	}
	return []error{ErrCertificate, e.cause}
}

// Config returns the TLS configuration to dial an endpoint with, for an application
// protocol.
func (p *Policy) Config(e endpoints.Endpoint, alpn string) *tls.Config {
	conf := &tls.Config{
		ServerName: e.Host,
		NextProtos: []string{alpn},
		MinVersion: tls.VersionTLS13,
		// VerifyConnection does it: crypto/tls alone can verify neither a pin nor
		// a chain without its host.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return p.accept(e, state.PeerCertificates)
		},
	}
	if p.TLS.Certificate != nil {
		conf.Certificates = []tls.Certificate{*p.TLS.Certificate}
	}
	return conf
}

// accept says why a node's certificates, the leaf first, are not those of an
// endpoint. That the node has the leaf's key TLS itself proves.
func (p *Policy) accept(e endpoints.Endpoint, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return &CertificateError{text: "it has none"} // not with TLS 1.3
	}
	leaf, shown := certs[0], PinOf(certs[0])
	if want, pinned := p.pins[e]; pinned {
		if shown != want {
			return &CertificateError{text: fmt.Sprintf("its key is %s, pinned is %s: if its key was changed, write %s#%s", shown, want, e, shown)}
		}
		return nil
	}
	if !p.TLS.Verify {
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: p.TLS.Roots, Intermediates: intermediates}); err != nil {
		return &CertificateError{fmt.Sprintf("%s: have it signed by a CA that is trusted here, trust its CA, or pin its key with %s#%s",
			shortened(err), e, shown), err}
	}
	if p.TLS.AnyHost {
		return nil
	}
	if err := leaf.VerifyHostname(e.Host); err != nil {
		return &CertificateError{fmt.Sprintf("%s: dial a name that it has, have %s added to its subject alternative names, or pin its key with %s#%s",
			shortened(err), e.Host, e, shown), err}
	}
	return nil
}

// Proves reports whether who is reached at an endpoint has shown that its name
// is its own.
func (p *Policy) Proves(e endpoints.Endpoint) bool {
	_, pinned := p.pins[e]
	return pinned || p.TLS.Verify && !p.TLS.AnyHost
}

// shortened returns the beginning of an error that may hold a peer's words.
func shortened(err error) string {
	const most = 300
	if text := err.Error(); len(text) > most {
		return text[:most] + "…"
	}
	return err.Error()
}
