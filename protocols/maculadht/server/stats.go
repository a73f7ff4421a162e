package server

import (
	"sync/atomic"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// MuxStats counts what happened on the streams of a Mux since it was made.
type MuxStats struct {
	Frames        uint64 // frames read, of whatever type
	Unknown       uint64 // of them, of a type that is none of Macula's
	Busy          uint64 // requests answered busy, or reset, for their peer's budget
	PushesDropped uint64 // pushed frames that were not written
	// Spared is how many frames were lost that would have ended their stream, had it
	// not been one that is kept ([Dialect.KeepConnected]).
	Spared uint64
	// Resets counts the streams that did not end in order, by ResetCode; at 0
	// those that the peer reset or that went with their connection.
	Resets [proto.MaxResetCode + 1]uint64
}

type muxCounters struct {
	frames, unknown, busy, pushesDropped, spared atomic.Uint64

	resets [proto.MaxResetCode + 1]atomic.Uint64
}

// Stats returns the counters, which a Mux made by With shares.
func (m *Mux) Stats() MuxStats {
	c := m.count
	s := MuxStats{
		Frames:        c.frames.Load(),
		Unknown:       c.unknown.Load(),
		Busy:          c.busy.Load(),
		PushesDropped: c.pushesDropped.Load(),
		Spared:        c.spared.Load(),
	}
	for code := range c.resets {
		s.Resets[code] = c.resets[code].Load()
	}
	return s
}

func (c *muxCounters) frame(t wire.Type) {
	c.frames.Add(1)
	if !t.Known() {
		c.unknown.Add(1)
	}
}
