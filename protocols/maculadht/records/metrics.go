package records

import "errors"

// MetricsTracer is told what a [Manager] does. Its methods are called while a value
// is stored or a sweep runs, by several goroutines at once: they must return soon,
// and must not call the manager.
type MetricsTracer interface {
	// Stored is called for a value that was stored: replaced, in another's place.
	Stored(replaced bool)
	// Refused is called for a value that was not.
	Refused(reason Refusal)
	// Expired is called with how many records were dropped at the end of their life.
	Expired(records int)
	// Evicted is called for a record dropped for another.
	Evicted(why Eviction)
	// SweepFailed is called when the store failed under the sweeper.
	SweepFailed()
	// Changed is called with by how much the number of keys and records and their
	// cost in bytes have changed, and at the start with what the store holds.
	Changed(keys, records, bytes int64)
}

// Eviction is for what a record was dropped before it had expired.
type Eviction string

// What records are dropped for.
const (
	EvictedKey   Eviction = "key"   // another one of its key, over the limits of that
	EvictedStore Eviction = "store" // another one, in a full store
)

// Refusal is why a value was not stored.
type Refusal string

// The reasons for which values are not stored.
const (
	RefusedNotOwner     Refusal = "not_owner"     // ErrNotOwner
	RefusedSuperseded   Refusal = "superseded"    // ErrSuperseded
	RefusedExpired      Refusal = "expired"       // ErrExpired
	RefusedSourceBudget Refusal = "source_budget" // ErrSourceBudget
	RefusedGroupBudget  Refusal = "group_budget"  // ErrGroupBudget
	RefusedStoreFull    Refusal = "store_full"    // ErrStoreFull
	RefusedFar          Refusal = "far"           // ErrFar
	RefusedKeyFull      Refusal = "key_full"      // ErrKeyFull
	RefusedStoreFailed  Refusal = "store_failed"  // ErrStoreFailed, or the context's error
)

var refusals = []struct {
	err error
	why Refusal
}{
	{ErrNotOwner, RefusedNotOwner}, {ErrSuperseded, RefusedSuperseded}, {ErrExpired, RefusedExpired},
	{ErrSourceBudget, RefusedSourceBudget}, {ErrGroupBudget, RefusedGroupBudget}, {ErrFar, RefusedFar}, {ErrStoreFull, RefusedStoreFull}, {ErrKeyFull, RefusedKeyFull},
}

// refusal returns the reason that an error of Manager.Store stands for.
func refusal(err error) Refusal {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.why
		}
	}
	return RefusedStoreFailed
}

type noTracer struct{}

func (noTracer) Stored(bool)                 {}
func (noTracer) Refused(Refusal)             {}
func (noTracer) Expired(int)                 {}
func (noTracer) Evicted(Eviction)            {}
func (noTracer) SweepFailed()                {}
func (noTracer) Changed(int64, int64, int64) {}
