package server

import (
	"sync/atomic"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Stats counts what the handlers did since they were made.
type Stats struct {
	Frames        uint64 // frames read, of whatever type
	Unknown       uint64 // of them, of a type that is none of Macula's
	Hits          uint64 // FIND_VALUE answered with values
	Misses        uint64 // FIND_VALUE answered without
	Stored        uint64 // values taken by STORE or _dht.store
	DroppedStores uint64 // STOREs dropped: bad, not the owner's, or over a budget
	Busy          uint64 // requests answered busy, or reset, for their peer's budget
	LeftOut       uint64 // providers left out of replies that would have been too long
	// Resets counts the streams that did not end in order, by ResetCode; at 0
	// those that the peer reset or that went with their connection.
	Resets [proto.MaxResetCode + 1]uint64
}

type counters struct {
	frames, unknown, hits, misses, stored, dropped, busy, leftOut atomic.Uint64

	resets [proto.MaxResetCode + 1]atomic.Uint64
}

// Stats returns the counters.
func (h *Handlers) Stats() Stats {
	c := &h.count
	s := Stats{
		Frames:        c.frames.Load(),
		Unknown:       c.unknown.Load(),
		Hits:          c.hits.Load(),
		Misses:        c.misses.Load(),
		Stored:        c.stored.Load(),
		DroppedStores: c.dropped.Load(),
		Busy:          c.busy.Load(),
		LeftOut:       c.leftOut.Load(),
	}
	for code := range c.resets {
		s.Resets[code] = c.resets[code].Load()
	}
	return s
}

func (c *counters) frame(t wire.Type) {
	c.frames.Add(1)
	if !t.Known() {
		c.unknown.Add(1)
	}
}
