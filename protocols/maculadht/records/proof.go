package records

import (
	"cmp"
	"time"
)

// Skew is how far the clocks of a provider and of whoever reads its proof may be apart.
const Skew = 10 * time.Minute

// Proof is what proves a record to be its provider's, be it handed over by others: what
// package signed has made, or found to hold. It is immutable.
type Proof struct {
	// Envelope is the proof as it travels, at most wire.MaxProof bytes.
	Envelope []byte
	// Sequence is when the provider has sealed the record, by its clock, in milliseconds
	// since 1970: of two of its records the one with the higher one is the newer.
	Sequence int64
	// Expires is when the record ends by the provider's clock, in milliseconds since 1970.
	Expires int64
}

// proofOverhead is what a proof costs beside its envelope, in bytes.
const proofOverhead = 128

// Compare orders what is known of one provider: what is proved comes after what is not,
// and of that what is newer. A nil proof is none.
func (p *Proof) Compare(other *Proof) int {
	switch {
	case p == nil && other == nil:
		return 0
	case p == nil:
		return -1
	case other == nil:
		return 1
	}
	return cmp.Compare(p.Sequence, other.Sequence)
}

// size is what the proof adds to what a record costs.
func (p *Proof) size() int {
	if p == nil {
		return 0
	}
	return len(p.Envelope) + proofOverhead
}

// Left returns for how long the record may live at most, as the clocks may be apart; less
// than 0 where it has ended.
func (p *Proof) Left(now time.Time) time.Duration {
	return time.UnixMilli(p.Expires).Add(Skew).Sub(now)
}

// isAhead reports whether the proof was sealed later than can be: it was let in by a
// clock that has been set back since.
func (p *Proof) isAhead(now time.Time) bool {
	return time.UnixMilli(p.Sequence).Sub(now) > Skew
}

// Envelope returns the record's proof as it travels, nil where it has none.
func (r *Record) Envelope() []byte {
	if r.Proof == nil {
		return nil
	}
	return r.Proof.Envelope
}

// IsTombstone reports whether the record says that its provider has withdrawn what it had
// under the key. It has a proof, a node id and no value.
func (r *Record) IsTombstone() bool { return len(r.Value) == 0 && r.Proof != nil }

// IsFresher reports whether r is to be believed rather than other, of the same provider:
// what is proved rather than what is not, the newer of two that are, what is here
// first-hand (see [Put.Direct]) rather than what lives elsewhere, and else what has more
// life left.
func (r *Record) IsFresher(other *Record) bool {
	if c := r.Proof.Compare(other.Proof); c != 0 {
		return c > 0
	}
	return !other.Direct && r.Expires.After(other.Expires)
}

// firstTombstone returns where in a list the tombstones begin, which come last.
func firstTombstone(recs []Record) int {
	n := len(recs)
	for n > 0 && recs[n-1].IsTombstone() {
		n--
	}
	return n
}
