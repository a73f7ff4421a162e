package server

import (
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server/outbox"
)

// MetricsTracer is told what happens on streams. Its methods are called on the
// way of each frame, by many goroutines: they must be quick and safe for
// concurrent use. They may use the peers, their Mux and its Stats.
type MetricsTracer interface {
	// StreamOpened: a stream of a dialect ("libp2p", "macula") is served.
	StreamOpened(dialect string)
	// StreamEnded: it was, for so long. ok says that it was closed in order; else
	// code is what it was reset with.
	StreamEnded(dialect string, code proto.ResetCode, ok bool, lasted time.Duration)
	// FrameReceived: a frame came, and was handled in that time.
	FrameReceived(dialect string, t wire.Type, r FrameResult, took time.Duration)
	// PushDropped: a pushed frame was not written.
	PushDropped(why DropReason)
}

// FrameResult is what came of a frame.
type FrameResult string

// The results of frames.
const (
	FrameHandled FrameResult = "handled" // by its handler
	FrameDropped FrameResult = "dropped" // there is none for its type
	FrameBusy    FrameResult = "busy"    // it was over a budget
	FrameFatal   FrameResult = "fatal"   // it ended its stream
	FrameUnmet   FrameResult = "unmet"   // its sender has not CONNECTed; it may have ended its stream
)

// DropReason is why a pushed frame was not written.
type DropReason = outbox.DropReason

// The reasons.
const (
	DropSlow   = outbox.DropSlow   // the peer takes what is pushed more slowly than it comes
	DropMemory = outbox.DropMemory // its account had no room
	DropEnded  = outbox.DropEnded  // its stream ended first
)

type noTracer struct{}

func (noTracer) StreamOpened(string)                                         {}
func (noTracer) StreamEnded(string, proto.ResetCode, bool, time.Duration)    {}
func (noTracer) FrameReceived(string, wire.Type, FrameResult, time.Duration) {}
func (noTracer) PushDropped(DropReason)                                      {}

// traced reports whether anybody wants to know how long a frame takes.
func (m *Mux) traced() bool { return m.tracer != noTracer{} }

func (m *Mux) dropped(why DropReason) {
	m.count.pushesDropped.Add(1)
	m.tracer.PushDropped(why)
}
