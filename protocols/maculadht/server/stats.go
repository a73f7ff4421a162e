package server

import (
	"maps"
	"sync"
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
	// Unmet is how many frames were refused as their sender has not CONNECTed
	// ([WithStrict]).
	Unmet uint64
	// TurnedAway counts the CONNECTs that were refused, by the reason that was sent; nil
	// where there were none.
	TurnedAway map[string]uint64
	// Resets counts the streams that did not end in order, by ResetCode; at 0
	// those that the peer reset or that went with their connection.
	Resets [proto.MaxResetCode + 1]uint64
}

type muxCounters struct {
	frames, unknown, busy, pushesDropped, spared, unmet atomic.Uint64

	mu         sync.Mutex
	turnedAway map[string]uint64

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
		Unmet:         c.unmet.Load(),
	}
	c.mu.Lock()
	s.TurnedAway = maps.Clone(c.turnedAway)
	c.mu.Unlock()
	for code := range c.resets {
		s.Resets[code] = c.resets[code].Load()
	}
	return s
}

// turnAway counts a refused CONNECT. The reasons are the handlers' own, so few.
func (c *muxCounters) turnAway(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turnedAway == nil {
		c.turnedAway = make(map[string]uint64)
	}
	c.turnedAway[reason]++
}

func (c *muxCounters) frame(t wire.Type) {
	c.frames.Add(1)
	if !t.Known() {
		c.unknown.Add(1)
	}
}
