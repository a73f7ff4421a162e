package records

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// DefaultSweepInterval is how often expired records are cleared away.
const DefaultSweepInterval = time.Minute

// What storage may cost where nothing is said.
const (
	// DefaultBytes is for all records together: 512 MiB.
	DefaultBytes = 512 << 20
	// DefaultSourceShare is the part of all that one source may use: a sixteenth.
	DefaultSourceShare = 16
	// DefaultGroupSources is how many times a source's limit that of an IP group
	// is.
	DefaultGroupSources = 4

	// DefaultProvidersPerSource is how many of the MaxProviders records of a key one
	// source may have that are not its own: a quarter.
	DefaultProvidersPerSource = MaxProviders / 4
	// DefaultProvidersPerGroup is how many of them one IP group may have: half.
	DefaultProvidersPerGroup = MaxProviders / 2
)

// Limits are what storage may cost, in bytes, each record as [Cost] says, and how many
// records one source may have under a key. A field that is 0 has its default. This
// node's own records count and are not limited.
type Limits struct {
	// Bytes is what all records may cost together: DefaultBytes.
	Bytes int64
	// BytesPerSource is how much of Bytes one source may use, be it a libp2p peer
	// or an IP address: by default a DefaultSourceShare-th.
	BytesPerSource int64
	// BytesPerGroup is how much of Bytes the sources of one IP group (an IPv4 /24,
	// an IPv6 /48) may use together; no less than one source. By default
	// DefaultGroupSources times BytesPerSource, or Bytes if that is less.
	BytesPerGroup int64
	// Plenty is up to how much of Bytes there is plenty of room: half. Above it nothing
	// is taken from strangers that is not their own, nor came first-hand, under keys
	// that are far from this node ([Manager.SetNeighbourhood]).
	Plenty int64
	// ProvidersPerSource is how many records under one key a source may have that are
	// not its own ([Put.From]): DefaultProvidersPerSource. Over it the soonest of them to
	// expire goes.
	ProvidersPerSource int
	// ProvidersPerGroup is how many records under one key, owned or not, the sources of
	// an IP group may have, or a source that is in none: DefaultProvidersPerGroup. Of all
	// that strangers own there are three quarters of MaxProviders at most.
	ProvidersPerGroup int
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

// WithLimits sets what storage may cost. Negative limits, and limits that leave a
// source more than its group or a group more than all, are an error.
func WithLimits(limits Limits) Option {
	return func(c *config) error {
		c.limits = limits.orDefault()
		return limits.Validate()
	}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	l = l.orDefault() // of what is 0 alone
	if min(l.Bytes, l.BytesPerSource) < 0 || l.BytesPerSource > l.BytesPerGroup || l.BytesPerGroup > l.Bytes {
		return fmt.Errorf("limit of %d bytes, of one group %d, of one source %d: want 0 <= of one source <= of one group <= all", l.Bytes, l.BytesPerGroup, l.BytesPerSource)
	}
	if l.Plenty < 0 || l.Plenty > l.Bytes {
		return fmt.Errorf("limit of %d bytes up to which there is plenty of room, want 0 to %d", l.Plenty, l.Bytes)
	}
	if s, g := l.ProvidersPerSource, l.ProvidersPerGroup; s < 1 || g < s || g > MaxProviders {
		return fmt.Errorf("limit of %d records of one source under a key, of one group %d: want 0 < of one source <= of one group <= %d", s, g, MaxProviders)
	}
	return nil
}

func (l Limits) orDefault() Limits {
	l.Bytes = cmp.Or(l.Bytes, DefaultBytes)
	l.BytesPerSource = cmp.Or(l.BytesPerSource, max(l.Bytes/DefaultSourceShare, 1))
	perGroup := l.Bytes
	if l.BytesPerSource < l.Bytes/DefaultGroupSources {
		perGroup = DefaultGroupSources * l.BytesPerSource
	}
	l.BytesPerGroup = cmp.Or(l.BytesPerGroup, perGroup)
	l.Plenty = cmp.Or(l.Plenty, l.Bytes/2)
	l.ProvidersPerSource = cmp.Or(l.ProvidersPerSource, min(DefaultProvidersPerSource, cmp.Or(l.ProvidersPerGroup, MaxProviders)))
	l.ProvidersPerGroup = cmp.Or(l.ProvidersPerGroup, max(DefaultProvidersPerGroup, l.ProvidersPerSource))
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
