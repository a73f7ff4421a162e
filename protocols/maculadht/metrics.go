package maculadht

import (
	"errors"
	"time"
)

// MetricsTracer is told what a Service does beside what its parts tell their own
// tracers: server.WithMetricsTracer by WithServer, and so on. Its methods are
// called from many goroutines at once and must return at once.
type MetricsTracer interface {
	// PeerCame is called when a peer that is connected has been admitted to the
	// table, once while it is connected.
	PeerCame()
	// PeerLeft is called when the last connection of such a peer has ended.
	PeerLeft(after time.Duration)
	// Joined is called when the table was filled from the bootstrap peers.
	Joined(peers int)
	// Published is called after each publication of an advertisement, with how many
	// peers acknowledged it.
	Published(acknowledged int, err error)
}

// WithMetricsTracer sets who is told what the service does; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *serviceConfig) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}

type noTracer struct{}

func (noTracer) PeerCame()              {}
func (noTracer) PeerLeft(time.Duration) {}
func (noTracer) Joined(int)             {}
func (noTracer) Published(int, error)   {}
