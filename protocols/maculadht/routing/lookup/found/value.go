// Package found has what a lookup finds: values with their proofs, and what becomes of
// them where several holders have some of one provider.
package found

import (
	"bytes"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// FresherBy is how much longer a copy must live to count as a fresher record, and not
// as the same one of another holder: ages travel in whole seconds.
const FresherBy = 2 * time.Second

// Value is a value and when its life ends.
type Value struct {
	values.Value
	Expires time.Time
	// Proof proves that the value is NodeID's; nil where nothing does.
	Proof *records.Proof
}

// IsWithdrawn reports whether it is no value, but says that the one of its NodeID was
// withdrawn.
func (v *Value) IsWithdrawn() bool { return v.Raw == nil }

// Record returns it as a record.
func (v *Value) Record() records.Record {
	return records.Record{Value: v.Raw, NodeID: v.NodeID, Expires: v.Expires, Proof: v.Proof}
}

// Differ reports whether of two lists, in whatever order, one has a record that the other
// has not, or another value of it, or the same with a life that ends later or sooner than
// copies of one record do.
func Differ(before, now []records.Record) bool {
	known := make(map[string]*records.Record, len(before))
	for i := range before {
		known[before[i].Provider()] = &before[i]
	}
	seen := 0
	for i := range now {
		old := known[now[i].Provider()]
		if old == nil || !bytes.Equal(old.Value, now[i].Value) || now[i].Expires.Sub(old.Expires).Abs() > FresherBy {
			return true
		}
		seen++
	}
	return seen != len(known)
}

// isFresher reports whether v is to be believed rather than other, of the same provider.
func (v *Value) isFresher(other *Value) bool {
	r, old := v.Record(), other.Record()
	return r.IsFresher(&old)
}

// provider names whose the value is.
func (v *Value) provider() string {
	r := v.Record()
	return r.Provider()
}
