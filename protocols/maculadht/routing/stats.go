package routing

import "sync/atomic"

// Stats is what a server holds, and what it has done since it began, apart from
// its records: for those ask [Server.Records].
type Stats struct {
	// Gauges.
	Contacts int // in the table
	Guests   int // listed, each node once

	// Counters.
	HandedOver       uint64 // records that a contact took from us, as it is nearer to their key
	HandOverFailures uint64 // records that one did not take, or times that ours could not be read
}

type counters struct {
	handedOver, handOverFailures atomic.Uint64
}

// Stats returns the server's gauges and counters. They are read one after the
// other, so those of a busy server need not agree.
func (s *Server) Stats() Stats {
	return Stats{
		Contacts: s.table.Len(),
		Guests:   s.guests.len(),

		HandedOver:       s.counters.handedOver.Load(),
		HandOverFailures: s.counters.handOverFailures.Load(),
	}
}
