package signed

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// maxRemembered is how many envelopes a verifier remembers at most, twice: some 300 bytes
// each.
const maxRemembered = 4096

// Verifier tells whether proofs hold in a realm. Of each envelope the signature is
// verified once while it is remembered; what is remembered is looked up in less than a
// hundredth of that. It is safe for concurrent use.
type Verifier struct {
	realm string

	mu            sync.Mutex
	recent, older map[[sha256.Size]byte]*sealedProof // by the hash of the envelope
}

// sealedProof is what an envelope says whose signature is right.
type sealedProof struct {
	payload
	by    routing.ID
	proof records.Proof
}

// NewVerifier returns what verifies proofs of a realm.
func NewVerifier(realm string) *Verifier {
	return &Verifier{realm: realm, recent: make(map[[sha256.Size]byte]*sealedProof)}
}

// Verify returns the proof that an envelope is of a value under a key: made with the key
// of which nodeID is the node id. Errors are ErrForged and ErrUntimely. It keeps neither
// slice.
func (v *Verifier) Verify(key, value, nodeID, envelope []byte) (*records.Proof, error) {
	s, err := v.open(envelope)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(s.by[:], nodeID):
		return nil, fmt.Errorf("%w: its signer's node id is %s, the value's %x", ErrForged, s.by, nodeID)
	}
	return s.of(digest(v.realm, key, value))
}

// VerifyTombstone returns the proof that an envelope is of what a node, of which it
// returns the id, has withdrawn under a key. Errors are as of Verify.
func (v *Verifier) VerifyTombstone(key, envelope []byte) (nodeID []byte, p *records.Proof, err error) {
	s, err := v.open(envelope)
	if err != nil {
		return nil, nil, err
	}
	p, err = s.of(digest(v.realm, key, nil))
	return s.by[:], p, err
}

// of returns the proof if it is of what has a digest, and timely.
func (s *sealedProof) of(digest [sha256.Size]byte) (*records.Proof, error) {
	now := time.Now()
	switch {
	case s.digest != digest:
		return nil, fmt.Errorf("%w: it is of another realm, key or value", ErrForged)
	case time.UnixMilli(s.sequence).Sub(now) > records.Skew:
		return nil, fmt.Errorf("%w: sealed %v from now, clocks may be %v apart", ErrUntimely, time.UnixMilli(s.sequence).Sub(now).Round(time.Second), records.Skew)
	case s.proof.Left(now) <= 0:
		return nil, fmt.Errorf("%w: it ended %v ago, clocks may be %v apart", ErrUntimely, now.Sub(time.UnixMilli(s.expires)).Round(time.Second), records.Skew)
	}
	return &s.proof, nil
}

// open returns what an envelope says, from memory if it was opened a while ago.
func (v *Verifier) open(envelope []byte) (*sealedProof, error) {
	if len(envelope) > wire.MaxProof {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrForged, len(envelope), wire.MaxProof)
	}
	name := sha256.Sum256(envelope)
	if s := v.remembered(name); s != nil {
		return s, nil
	}
	s, err := open(bytes.Clone(envelope))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	v.remember(name, s)
	return s, nil
}

func (v *Verifier) remembered(name [sha256.Size]byte) *sealedProof {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.recent[name]; s != nil {
		return s
	}
	s := v.older[name]
	if s != nil {
		v.put(name, s)
	}
	return s
}

func (v *Verifier) remember(name [sha256.Size]byte, s *sealedProof) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(name, s)
}

// put remembers an envelope. When there are too many those go that were not asked for
// since there were last.
func (v *Verifier) put(name [sha256.Size]byte, s *sealedProof) {
	if len(v.recent) >= maxRemembered {
		v.older, v.recent = v.recent, make(map[[sha256.Size]byte]*sealedProof)
	}
	v.recent[name] = s
}

// open verifies an envelope, which it keeps.
func open(envelope []byte) (*sealedProof, error) {
	s := &sealedProof{proof: records.Proof{Envelope: envelope}}
	e, err := record.ConsumeTypedEnvelope(envelope, &s.payload)
	if err != nil {
		return nil, err
	}
	if string(e.PayloadType) != PayloadType {
		return nil, fmt.Errorf("payload of the type %q, want %q", e.PayloadType, PayloadType)
	}
	p, err := peer.IDFromPublicKey(e.PublicKey)
	if err != nil {
		return nil, err
	}
	s.by = routing.IDFromPeer(p)
	s.proof.Sequence, s.proof.Expires = s.sequence, s.expires
	return s, nil
}
