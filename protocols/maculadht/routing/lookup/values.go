package lookup

import (
	"bytes"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// maxFailed is how many proofs of one answer may fail before the rest of them is not
// looked at: who has stored records in good faith has none that fail, and to verify one
// takes time.
const maxFailed = 8

// answeredValues reads the values of one answer.
type answeredValues struct {
	*search
	reply   *wire.FindValueReply
	lenient bool // it is of an Erlang node, which stores anything
	failed  int  // proofs that do not hold
}

// read returns those that have life left. Values that may not be stored are wrong. A
// proof that does not hold is none: what it comes with is as good as anybody's.
func (a *answeredValues) read() ([]FoundValue, error) {
	m := a.reply
	if len(m.Values) > wire.MaxValues {
		return nil, fmt.Errorf("%w: %d values, limit %d", errWrong, len(m.Values), wire.MaxValues)
	}
	now := time.Now()
	found := make([]FoundValue, 0, len(m.Values))
	for i, raw := range m.Values {
		v, err := values.Parse(bytes.Clone(raw)) // one value does not keep a whole reply in memory
		if err != nil && a.lenient {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWrong, err)
		}
		life := v.TTL
		if i < len(m.ExpiresIn) {
			life = min(life, wire.Seconds(m.ExpiresIn[i]))
		}
		var proof *records.Proof
		if i < len(m.Proofs) {
			proof = a.proof(&v, m.Proofs[i])
		}
		if proof != nil {
			life = min(life, proof.Left(now))
		}
		if life > 0 && (proof != nil || !a.how.ProvedOnly) {
			found = append(found, FoundValue{Value: v, Expires: now.Add(life), Proof: proof})
		}
	}
	return found, nil
}

// proof returns a value's proof, nil where there is none that holds.
func (a *answeredValues) proof(v *values.Value, envelope []byte) *records.Proof {
	if len(envelope) == 0 || !a.verifies() {
		return nil
	}
	p, err := a.cfg.verifier.Verify(a.how.Key, v.Raw, v.NodeID, envelope)
	if err != nil {
		a.fail()
	}
	return p
}

func (a *answeredValues) verifies() bool { return a.cfg.verifier != nil && a.failed < maxFailed }

func (a *answeredValues) fail() {
	a.failed++
	a.cfg.tracer.ProofFailed()
}

// withdrawn returns whose values were withdrawn, for as long as that holds.
func (a *answeredValues) withdrawn() (withdrawn []FoundValue) {
	now := time.Now()
	for _, envelope := range a.reply.Tombstones {
		if !a.verifies() {
			break
		}
		id, p, err := a.cfg.verifier.VerifyTombstone(a.how.Key, envelope)
		if err != nil {
			a.fail()
			continue
		}
		withdrawn = append(withdrawn, FoundValue{Value: values.Value{NodeID: id}, Expires: now.Add(p.Left(now)), Proof: p})
	}
	return withdrawn
}
