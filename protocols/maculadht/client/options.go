package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Limits are how much a Client asks one peer at a time, and how long it waits.
type Limits struct {
	// Streams is how many streams to one peer are kept at most, for _dht.store as
	// many again.
	Streams int
	// Pipeline is how many requests wait for their replies on one stream at most;
	// more wait for their turn.
	Pipeline int
	// Timeout is how long a peer may take for a reply, whatever time the caller
	// has. When it takes longer its stream is reset: replies come in order, so
	// nothing behind it would come.
	Timeout time.Duration
}

// DefaultLimits returns 4 streams of 64 requests, and 10 s.
func DefaultLimits() Limits { return Limits{Streams: 4, Pipeline: 64, Timeout: 10 * time.Second} }

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	if l.Streams < 1 || l.Pipeline < 1 || l.Timeout <= 0 {
		return fmt.Errorf("limits: %d streams of %d requests, %v for a reply: want at least one of each, and more than no time", l.Streams, l.Pipeline, l.Timeout)
	}
	return nil
}

type config struct {
	limits Limits
	tracer MetricsTracer
	// connect makes the CONNECT that is sent over a connection; nil where none is.
	connect func(over network.Conn) *wire.Connect
}

// Option sets a detail of a Client.
type Option func(*config) error

// WithLimits sets the limits, all of them: begin with DefaultLimits.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.Validate()
	}
}

// WithMetricsTracer sets who is told what the client does; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}

// MetricsTracer is told what a Client does. Its methods are called by many
// goroutines: they must be quick and safe for concurrent use.
type MetricsTracer interface {
	// RequestDone: a request was answered or given up, and its caller waited so
	// long.
	RequestDone(t wire.Type, r proto.Result, waited time.Duration)
	// StreamDone: a stream to a peer was opened, or could not be, in that time;
	// dialling is part of it.
	StreamDone(r proto.Result, took time.Duration)
}

type noTracer struct{}

func (noTracer) RequestDone(wire.Type, proto.Result, time.Duration) {}
func (noTracer) StreamDone(proto.Result, time.Duration)             {}

// traced reports whether anybody wants to know how long things take.
func (c *config) traced() bool { return c.tracer != noTracer{} }
