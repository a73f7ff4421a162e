package compat

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// ClientID returns the id under which the Erlang node with a certificate names
// itself as a client: in CONNECT, in the values that it stores and in its own
// entry of _dht.list_gateways. It is the SHA-256 of the public key's bits, in
// hexadecimal (docs/WIRE.md). A node that is given a NODE_ID uses that instead.
func ClientID(cert *x509.Certificate) (string, error) {
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Bits      asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &key); err != nil {
		return "", fmt.Errorf("public key of the certificate: %w", err)
	}
	sum := sha256.Sum256(key.Bits.Bytes)
	return hex.EncodeToString(sum[:]), nil
}

// clientIDAt returns the ClientID of the node that is connected to at a place;
// empty where there is no connection.
func (d *Dialer) clientIDAt(p place) string {
	d.mu.Lock()
	l := d.links[p]
	d.mu.Unlock()
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return ""
	}
	certs := l.conn.ConnectionState().TLS.PeerCertificates
	if len(certs) == 0 {
		return ""
	}
	id, err := ClientID(certs[0])
	if err != nil {
		return ""
	}
	return id
}

// isClaimed reports whether a node id that is a ClientID in form belongs to the
// certificate with this one. An id of another form proves nothing either way.
func isClaimed(nodeID []byte, clientID string) bool {
	if _, err := hex.DecodeString(string(nodeID)); err != nil || len(nodeID) != 2*sha256.Size || clientID == "" {
		return true
	}
	return strings.EqualFold(string(nodeID), clientID)
}

// errAnotherNode: the node at an endpoint is not the one that named it.
var errAnotherNode = &routing.RefusedError{Reason: "the certificate there is another node's"}
