package routing

import (
	"errors"
	"sync/atomic"
)

// Stats is what a server holds, and what it has done since it began.
type Stats struct {
	// Gauges.
	Records  int64 // stored, including those that expired since the last sweep
	Keys     int64 // with at least one record
	Bytes    int64 // values and keys, and RecordOverhead for each record
	Contacts int   // in the table
	Guests   int   // listed, each node once

	// Counters.
	Stored        uint64 // records that were new
	Replaced      uint64 // records that took another's place
	NotOwner      uint64 // refused with ErrNotOwner
	OverBudget    uint64 // refused with ErrStoreFull or ErrSourceBudget
	Expired       uint64 // records dropped at the end of their life
	Evicted       uint64 // records dropped, or not taken, over MaxProviders
	SweepFailures uint64 // times the record store failed under the sweeper

	HandedOver       uint64 // records that a contact took from us, as it is nearer to their key
	HandOverFailures uint64 // records that one did not take
}

type counters struct {
	stored, replaced, notOwner, overBudget, expired, evicted, sweepFailures, handedOver, handOverFailures atomic.Uint64
}

// count enters what one update did.
func (c *counters) count(done *edit, expired int, refused error) {
	switch {
	case errors.Is(refused, ErrNotOwner):
		c.notOwner.Add(1)
	case refused != nil:
		c.overBudget.Add(1)
	case done.replaced:
		c.replaced.Add(1)
	case done.added != nil:
		c.stored.Add(1)
	}
	if done.evicted {
		c.evicted.Add(1)
	}
	c.expired.Add(uint64(expired))
}

// Stats returns the server's gauges and counters. They are read one after the
// other, so those of a busy server need not agree to the last record.
func (s *Server) Stats() Stats {
	bytes, records := s.ledger.used()
	return Stats{
		Records:  records,
		Keys:     s.keys.Load(),
		Bytes:    bytes,
		Contacts: s.table.Len(),
		Guests:   s.guests.len(),

		Stored:        s.counters.stored.Load(),
		Replaced:      s.counters.replaced.Load(),
		NotOwner:      s.counters.notOwner.Load(),
		OverBudget:    s.counters.overBudget.Load(),
		Expired:       s.counters.expired.Load(),
		Evicted:       s.counters.evicted.Load(),
		SweepFailures: s.counters.sweepFailures.Load(),

		HandedOver:       s.counters.handedOver.Load(),
		HandOverFailures: s.counters.handOverFailures.Load(),
	}
}
