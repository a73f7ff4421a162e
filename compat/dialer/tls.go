package dialer

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
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
// address in its subject alternative names. A Pin (see WithPins) takes the
// place of both, in either mode.
type TLS struct {
	Verify  bool           // the certificate's chain and host
	Roots   *x509.CertPool // nil: those of the system
	AnyHost bool           // with Verify: the chain alone
	// Certificate is shown to a node that asks for one, nil for none. No Erlang
	// node of v0.20.x asks: its listener sets no verification in any mode.
	Certificate *tls.Certificate
}

// Holds reports whether the dialer holds the node at an endpoint to the Pin that is
// in it: one that WithPins was not given would be passed over in silence. It
// does so with an endpoint that has none.
func (d *Dialer) Holds(e PinnedEndpoint) bool {
	return e.Pin.IsZero() || d.cfg.pins[e.Endpoint] == e.Pin
}

// certificateError is an ErrCertificate with what to do about it.
type certificateError struct {
	text  string
	cause error // or nil
}

func (e *certificateError) Error() string { return ErrCertificate.Error() + ": " + e.text }

func (e *certificateError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrCertificate}
	}
	return []error{ErrCertificate, e.cause}
}

// clientTLS returns the TLS configuration to dial an endpoint with.
func (c *config) clientTLS(e wire.Endpoint) *tls.Config {
	conf := &tls.Config{
		ServerName: e.Host,
		NextProtos: []string{ALPN},
		MinVersion: tls.VersionTLS13,
		// VerifyConnection does it: crypto/tls alone can verify neither a pin nor
		// a chain without its host.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return c.accept(e, state.PeerCertificates)
		},
	}
	if c.tls.Certificate != nil {
		conf.Certificates = []tls.Certificate{*c.tls.Certificate}
	}
	return conf
}

// accept says why a node's certificates, the leaf first, are not those of an
// endpoint. That the node has the leaf's key TLS itself proves.
func (c *config) accept(e wire.Endpoint, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return &certificateError{text: "it has none"} // not with TLS 1.3
	}
	leaf, shown := certs[0], PinOf(certs[0])
	if want, pinned := c.pins[e]; pinned {
		if shown != want {
			return &certificateError{text: fmt.Sprintf("its key is %s, pinned is %s: if its key was changed, write %s#%s", shown, want, e, shown)}
		}
		return nil
	}
	if !c.tls.Verify {
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.tls.Roots, Intermediates: intermediates}); err != nil {
		return &certificateError{fmt.Sprintf("%s: have it signed by a CA that is trusted here, trust its CA, or pin its key with %s#%s",
			shortened(err), e, shown), err}
	}
	if c.tls.AnyHost {
		return nil
	}
	if err := leaf.VerifyHostname(e.Host); err != nil {
		return &certificateError{fmt.Sprintf("%s: dial a name that it has, have %s added to its subject alternative names, or pin its key with %s#%s",
			shortened(err), e.Host, e, shown), err}
	}
	return nil
}

// proves reports whether who is reached at an endpoint has shown that its name
// is its own.
func (c *config) proves(e wire.Endpoint) bool {
	_, pinned := c.pins[e]
	return pinned || c.tls.Verify && !c.tls.AnyHost
}

// shortened returns the beginning of an error that may hold a peer's words.
func shortened(err error) string {
	const most = 300
	if text := err.Error(); len(text) > most {
		return text[:most] + "…"
	}
	return err.Error()
}
