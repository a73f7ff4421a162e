package upkeep

import "sync/atomic"

// Stats is what an [Upkeep] has done since it began.
type Stats struct {
	HandedOver       uint64 // records that a contact took from us, as it is nearer to their key
	HandOverFailures uint64 // records that one did not take, or times that ours could not be read
}

type counters struct {
	handedOver, handOverFailures atomic.Uint64
}

// Stats returns the upkeep's counters. They are read one after the other, so those of
// a busy upkeep need not agree.
func (u *Upkeep) Stats() Stats {
	return Stats{HandedOver: u.counters.handedOver.Load(), HandOverFailures: u.counters.handOverFailures.Load()}
}
