package replication

import "time"

// MetricsTracer is told what an [Adopter] does. Its methods are called by several
// goroutines at once, some while the adopter is locked: they must return at once,
// and must not call it.
type MetricsTracer interface {
	// Adopted is called for a record that is replicated from now on.
	Adopted()
	// Dropped is called for one that is not any more, or never was.
	Dropped(why DropReason)
	// Held is called for one that has to wait as its source, or its IP group, has used up
	// its bytes, once each time that it is to be replicated.
	Held()
	// Replicated is called when a record was put on other nodes, or was not: how many
	// acknowledged it, in what time.
	Replicated(acknowledged int, err error, took time.Duration)
}

// DropReason is why a record is not adopted, or not any longer.
type DropReason string

// The reasons.
const (
	DropEnded    DropReason = "ended"    // it was not renewed, or is another's now
	DropSource   DropReason = "source"   // its source has Limits.RecordsPerSource
	DropGroup    DropReason = "group"    // its source's IP group has Limits.RecordsPerGroup
	DropFull     DropReason = "full"     // there are Limits.Records
	DropGateway  DropReason = "gateway"  // its key is one that gateways register under
	DropUnwanted DropReason = "unwanted" // the filter does not let it pass
)

type noTracer struct{}

func (noTracer) Adopted()                             {}
func (noTracer) Dropped(DropReason)                   {}
func (noTracer) Held()                                {}
func (noTracer) Replicated(int, error, time.Duration) {}

// Stats counts what an Adopter did since it was made, and what it holds.
type Stats struct {
	Replicated uint64                // records that were put on other nodes, each time
	Failed     uint64                // those that nobody took
	Held       uint64                // those that had to wait for their source's bytes
	Dropped    map[DropReason]uint64 // records that are not adopted

	Records int // adopted
	Waiting int // to be replicated
	Jobs    int // being replicated
}

// Stats returns the counters.
func (a *Adopter) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Stats{
		Replicated: a.replicated, Failed: a.failed, Held: a.held, Dropped: make(map[DropReason]uint64),
		Records: len(a.records), Waiting: a.waiting, Jobs: a.jobs,
	}
	for why, n := range a.dropped {
		s.Dropped[why] = n
	}
	return s
}
