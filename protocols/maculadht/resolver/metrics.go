package resolver

import "time"

// MetricsTracer is told what a [Resolver] does. Its methods are called by several
// goroutines at once, some while the resolver is locked: they must return at once,
// and must not call it.
type MetricsTracer interface {
	// Answered is called for each answer that waited for a lookup.
	Answered(outcome Outcome)
	// Refused is called for a key that was not looked up, or not to the end, or not
	// waited for.
	Refused(limit Refusal)
	// LookedUp is called at the end of a lookup: refresh says that nobody asked for
	// it then, found that there was something.
	LookedUp(refresh, found bool, took time.Duration)
	// Changed is called with by how much the number of keys that are remembered and
	// their cost in bytes have changed.
	Changed(keys, bytes int)
}

// Outcome is what an answer that waited came to.
type Outcome string

// The outcomes.
const (
	OutcomeFound   Outcome = "found"   // the lookup ended with values
	OutcomeMissed  Outcome = "missed"  // it ended without
	OutcomePartial Outcome = "partial" // it was not waited for any longer, and had values
	OutcomeLate    Outcome = "late"    // it was not waited for any longer, and had none
)

// Refusal is the limit over which something would have been.
type Refusal string

// The limits.
const (
	RefusedLookups       Refusal = "lookups"        // Limits.Lookups
	RefusedGaveWay       Refusal = "gave_way"       // Limits.Lookups: ended for one of a group with fewer
	RefusedLookupsGroup  Refusal = "lookups_group"  // Limits.LookupsPerGroup
	RefusedSource        Refusal = "source"         // Limits.LookupsPerSource
	RefusedWaiters       Refusal = "waiters"        // Limits.Waiters
	RefusedWaitersGroup  Refusal = "waiters_group"  // Limits.WaitersPerGroup
	RefusedWaitersSource Refusal = "waiters_source" // Limits.WaitersPerSource
)

type noTracer struct{}

func (noTracer) Answered(Outcome)                   {}
func (noTracer) Refused(Refusal)                    {}
func (noTracer) LookedUp(bool, bool, time.Duration) {}
func (noTracer) Changed(int, int)                   {}

// Stats counts what a Resolver did since it was made, and what it holds.
type Stats struct {
	Lookups   uint64 // that somebody asked for
	Refreshes uint64 // lookups that nobody asked for
	Checks    uint64 // that those nearest to a missed key were asked again
	Refused   uint64 // questions over a limit, and lookups that gave way

	Keys     int // remembered, with those that are being looked up
	Bytes    int // what they cost
	UnderWay int // lookups and refreshes
	Waiting  int // answers
}

// Stats returns the counters.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.count
	s.Keys, s.Bytes, s.UnderWay, s.Waiting = len(r.keys), r.bytes, r.lookingUp.all+r.refreshing.all, r.waiting.all
	return s
}
