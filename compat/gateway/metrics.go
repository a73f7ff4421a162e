package gateway

import (
	"errors"
	"time"
)

// RefusalReason is why a connection was not served.
type RefusalReason string

// The reasons.
const (
	RefusedGated     RefusalReason = "gated"     // the connection gater keeps it away
	RefusedResources RefusalReason = "resources" // the resource manager has no room
	RefusedClosing   RefusalReason = "closing"   // the gateway is
)

// MetricsTracer is told what a Gateway does. Its methods are called from many
// goroutines at once and must return at once.
type MetricsTracer interface {
	// ConnectionOpened is called for each connection that is served.
	ConnectionOpened()
	// ConnectionClosed is called at the end of each of these.
	ConnectionClosed(lasted time.Duration)
	// ConnectionRefused is called for each other connection.
	ConnectionRefused(reason RefusalReason)
	// SessionBegun is called with the first CONNECT of a connection that is taken.
	SessionBegun()
	// SessionEnded is called at the end of a connection with a session.
	SessionEnded(lasted time.Duration)
}

// WithMetricsTracer sets who is told what the gateway does; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("no metrics tracer")
		}
		c.tracer = t
		return nil
	}
}

type noTracer struct{}

func (noTracer) ConnectionOpened()               {}
func (noTracer) ConnectionClosed(time.Duration)  {}
func (noTracer) ConnectionRefused(RefusalReason) {}
func (noTracer) SessionBegun()                   {}
func (noTracer) SessionEnded(time.Duration)      {}
