package records

import (
	"errors"
	"fmt"
	"time"
)

// DefaultSweepInterval is how often expired records are cleared away.
const DefaultSweepInterval = time.Minute

// Limits are what storage may cost. A field that is 0 has its default.
type Limits struct {
	// Bytes is what all records may cost together, in bytes of values and keys plus
	// RecordOverhead each; DefaultBytes without it.
	Bytes int64
	// BytesPerSource is how much of that one source may use; by default a
	// DefaultSourceShare-th of it.
	BytesPerSource int64
}

// Option changes how New builds a manager.
type Option func(*config) error

type config struct {
	store         Store
	limits        Limits
	sweepInterval time.Duration
	tracer        MetricsTracer
}

// WithStore keeps the records in store instead of in memory. The manager closes
// it; if New fails, it stays the caller's.
func WithStore(store Store) Option {
	return func(c *config) error {
		if store == nil {
			return errors.New("store is nil")
		}
		c.store = store
		return nil
	}
}

// WithLimits sets what storage may cost.
func WithLimits(limits Limits) Option {
	return func(c *config) error {
		l := limits.orDefault()
		if limits.Bytes < 0 || limits.BytesPerSource < 0 || l.BytesPerSource > l.Bytes {
			return fmt.Errorf("limit of %d bytes, of one source %d: want 0 <= of one source <= all", limits.Bytes, limits.BytesPerSource)
		}
		c.limits = l
		return nil
	}
}

func (l Limits) orDefault() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.BytesPerSource == 0 {
		l.BytesPerSource = max(l.Bytes/DefaultSourceShare, 1)
	}
	return l
}

// WithSweepInterval sets how often expired records are cleared away, by default
// [DefaultSweepInterval].
func WithSweepInterval(interval time.Duration) Option {
	return func(c *config) error {
		if interval <= 0 {
			return fmt.Errorf("sweep interval %v: want more than 0", interval)
		}
		c.sweepInterval = interval
		return nil
	}
}

// WithMetricsTracer has what happens told to tracer as well as counted in [Stats].
func WithMetricsTracer(tracer MetricsTracer) Option {
	return func(c *config) error {
		if tracer == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = tracer
		return nil
	}
}
