package dht

import "sync/atomic"

// Stats counts what the handlers of the DHT did since they were made.
type Stats struct {
	Hits          uint64 // FIND_VALUE answered with values
	Misses        uint64 // FIND_VALUE answered without
	Stored        uint64 // values taken by STORE or _dht.store
	DroppedStores uint64 // STOREs dropped: bad, not the owner's, or over a budget
	LeftOut       uint64 // providers left out of replies that would have been too long
	Harmful       uint64 // providers left out of replies to Erlang nodes, which they would have crashed
}

type counters struct {
	hits, misses, stored, dropped, leftOut, harmful atomic.Uint64
}

// Stats returns the counters.
func (h *Handlers) Stats() Stats {
	c := &h.count
	return Stats{
		Hits:          c.hits.Load(),
		Misses:        c.misses.Load(),
		Stored:        c.stored.Load(),
		DroppedStores: c.dropped.Load(),
		LeftOut:       c.leftOut.Load(),
		Harmful:       c.harmful.Load(),
	}
}
