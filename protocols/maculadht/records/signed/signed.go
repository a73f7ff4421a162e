// Package signed proves whose a record is: its provider seals it with its libp2p key,
// whoever gets a copy can tell that it did, and nobody else can make one.
//
// A proof is a signed envelope of libp2p (go-libp2p/core/record) in a domain of its own.
// It binds realm, key and value, says when it was sealed, which tells a newer record from
// an older one, and when the record ends. docs/PROTOCOL.md has the bytes, and testdata
// vectors of them.
package signed

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// Domain is the envelope's: no signature for another purpose is one of a record.
	Domain = "macula-dht-record"
	// PayloadType is the envelope's type of payload.
	PayloadType = "/macula/dht-record/1"
)

// Why a proof is not taken.
var (
	// ErrForged means that it is none: no envelope of this kind, for another record, by
	// another's key, or with a signature that is wrong.
	ErrForged = errors.New("not a proof of this record")
	// ErrUntimely means that it holds at another time: its end is longer ago than clocks
	// may be apart, or it was sealed later from now than that.
	ErrUntimely = errors.New("a proof of another time")
)

// payloadSize is how long the payload is: sequence, expiry, digest.
const payloadSize = 8 + 8 + sha256.Size

// payload is what is signed.
type payload struct {
	sequence, expires int64 // in ms, as of records.Proof
	digest            [sha256.Size]byte
}

// Domain implements record.Record.
func (*payload) Domain() string { return Domain }

// Codec implements record.Record.
func (*payload) Codec() []byte { return []byte(PayloadType) }

// MarshalRecord implements record.Record.
func (p *payload) MarshalRecord() ([]byte, error) {
	b := make([]byte, 0, payloadSize)
	b = binary.BigEndian.AppendUint64(b, uint64(p.sequence))
	b = binary.BigEndian.AppendUint64(b, uint64(p.expires))
	return append(b, p.digest[:]...), nil
}

// UnmarshalRecord implements record.Record.
func (p *payload) UnmarshalRecord(b []byte) error {
	if len(b) != payloadSize {
		return fmt.Errorf("payload of %d bytes, want %d", len(b), payloadSize)
	}
	sequence, expires := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	if sequence > math.MaxInt64 || expires > math.MaxInt64 || expires <= sequence ||
		expires-sequence > uint64(values.MaxTTL/time.Millisecond) {
		return fmt.Errorf("sealed at %d ms and ends at %d ms, want a life of 1 ms to %v", sequence, expires, values.MaxTTL)
	}
	*p = payload{sequence: int64(sequence), expires: int64(expires), digest: [sha256.Size]byte(b[16:])}
	return nil
}

// digest is what a proof binds: the value under a key of a realm.
func digest(realm string, key, value []byte) (sum [sha256.Size]byte) {
	b := make([]byte, 0, 1024)
	b = append(binary.AppendUvarint(b, uint64(len(realm))), realm...)
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	if len(b)+len(value) <= cap(b) {
		return sha256.Sum256(append(b, value...))
	}
	h := sha256.New()
	h.Write(b)
	h.Write(value)
	h.Sum(sum[:0])
	return sum
}

// Signer seals the records of one node. It is safe for concurrent use.
type Signer struct {
	key   crypto.PrivKey
	realm string
	id    routing.ID
}

// NewSigner returns what seals the records of a libp2p key in a realm.
func NewSigner(key crypto.PrivKey, realm string) (*Signer, error) {
	if key == nil {
		return nil, errors.New("no key to seal records with")
	}
	p, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key to seal records with: %w", err)
	}
	return &Signer{key: key, realm: realm, id: routing.IDFromPeer(p)}, nil
}

// NodeID returns the node id that the signer's records have.
func (s *Signer) NodeID() routing.ID { return s.id }

// Seal proves that a value under a key is the signer's, from a time until another, of
// which milliseconds count and which are values.MaxTTL apart at most; the earlier one is its
// sequence number. The value is the bytes that are stored; none withdraws what was there.
func (s *Signer) Seal(key, value []byte, from, until time.Time) (*records.Proof, error) {
	p := payload{sequence: from.UnixMilli(), expires: until.UnixMilli(), digest: digest(s.realm, key, value)}
	raw, _ := p.MarshalRecord() // never fails
	if err := new(payload).UnmarshalRecord(raw); err != nil {
		return nil, fmt.Errorf("seal a record: %w", err)
	}
	envelope, err := record.Seal(&p, s.key)
	if err != nil {
		return nil, fmt.Errorf("seal a record: %w", err)
	}
	b, err := envelope.Marshal()
	if err != nil {
		return nil, fmt.Errorf("seal a record: %w", err)
	}
	if len(b) > wire.MaxProof {
		return nil, fmt.Errorf("seal a record: proof of %d bytes, limit %d: the key is too long", len(b), wire.MaxProof)
	}
	return &records.Proof{Envelope: b, Sequence: p.sequence, Expires: p.expires}, nil
}
