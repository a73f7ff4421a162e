package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// Pin is the SHA-256 of a public key as a certificate holds it: the DER of its
// SubjectPublicKeyInfo, as in RFC 7469. So it outlives a renewed certificate
// for the same key. The zero Pin is none.
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate's public key.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// IsZero reports whether p is none.
func (p Pin) IsZero() bool { return p == Pin{} }

// String returns "sha256=" and 64 hexadecimal digits.
func (p Pin) String() string { return pinPrefix + hex.EncodeToString(p[:]) }

const pinPrefix = "sha256="

// parsePin reads what String writes.
func parsePin(text string) (p Pin, ok bool) {
	digits, ok := strings.CutPrefix(text, pinPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(p)) {
		return Pin{}, false
	}
	_, err := hex.Decode(p[:], []byte(digits))
	return p, err == nil && !p.IsZero()
}

// PinnedEndpoint is an endpoint with the Pin that the node there must have, as an
// operator writes it. As a text it is the endpoint alone: a pin does not travel.
type PinnedEndpoint struct {
	endpoints.Endpoint
	Pin Pin // zero: none
}

// Text is the endpoint with its pin, as ParsePinnedEndpoint reads it.
func (e PinnedEndpoint) Text() string {
	if e.Pin.IsZero() {
		return e.String()
	}
	return e.String() + "#" + e.Pin.String()
}

// ParsePinnedEndpoint reads an endpoint as endpoints.Parse does, which a pin may
// follow: "#sha256=" and 64 hexadecimal digits. The error is a
// endpoints.ErrBad.
func ParsePinnedEndpoint(text string) (PinnedEndpoint, error) {
	text, fragment, pinned := strings.Cut(text, "#")
	e, err := endpoints.Parse(text)
	if err != nil || !pinned {
		return PinnedEndpoint{Endpoint: e}, err
	}
	pin, ok := parsePin(fragment)
	if !ok {
		return PinnedEndpoint{}, fmt.Errorf("%w: %s has behind # no pin, sha256= and 64 hexadecimal digits", endpoints.ErrBad, e)
	}
	return PinnedEndpoint{e, pin}, nil
}
