package identity

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
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

// IsClientID reports whether a node id is a ClientID: nodes from 0.20.21 on write
// the 32 bytes themselves, those before their hexadecimal digits.
func IsClientID(nodeID []byte, clientID string) bool {
	switch len(nodeID) {
	case sha256.Size:
		return clientID == hex.EncodeToString(nodeID)
	case hex.EncodedLen(sha256.Size):
		return strings.EqualFold(string(nodeID), clientID)
	}
	return false
}

// MatchesClientID reports whether a node id may be that of the node with a
// ClientID. One that is a ClientID in its digits belongs to that certificate alone.
// 32 bytes may be another id of the node, and an id of another form its
// operator's: they prove nothing either way, nor does an empty clientID.
func MatchesClientID(nodeID []byte, clientID string) bool {
	if _, err := hex.DecodeString(string(nodeID)); err != nil || len(nodeID) != 2*sha256.Size || clientID == "" {
		return true
	}
	return IsClientID(nodeID, clientID)
}

// ErrAnotherNode: the node at an endpoint is not the one that named it.
var ErrAnotherNode error = &proto.RefusedError{Reason: "the certificate there is another node's"}

// Prove sees that a node's id is its own: that of its certificate, in either form,
// or the one that it answers with over network. An operator's NODE_ID can not be
// proved, and needs not to be. Errors are ErrAnotherNode and those of asking.
func Prove(ctx context.Context, network routing.Network, contact routing.Contact) error {
	if IsClientID(contact.NodeID, contact.ClientID) {
		return nil
	}
	if !MatchesClientID(contact.NodeID, contact.ClientID) {
		return ErrAnotherNode
	}
	if len(contact.NodeID) != sha256.Size {
		return nil
	}
	request := make([]byte, 16)
	rand.Read(request) // never fails
	reply, err := network.Query(ctx, contact, &wire.NATProbe{NodeID: contact.NodeID, RequestID: request})
	if err != nil {
		return err
	}
	if probe, ok := reply.(*wire.NATProbeReply); !ok || !bytes.Equal(probe.NodeID, contact.NodeID) {
		return ErrAnotherNode
	}
	return nil
}
