package uplink

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Intervals are how often a gateway is asked what.
type Intervals struct {
	// Ping is how often a gateway with a session is asked for a sign of life.
	Ping time.Duration
	// Neighbours is how often it is asked for its neighbours.
	Neighbours time.Duration
	// LookAgain is how long it is waited for a gateway that does not list itself
	// yet, which it does 3 s after its start (docs/WIRE.md); doubled each time, up
	// to LastRetry.
	LookAgain time.Duration
	// FirstRetry is how long a gateway that was not reached is left alone, doubled
	// each time, up to LastRetry. Each pause is half to one and a half of it.
	FirstRetry, LastRetry time.Duration
}

// DefaultIntervals returns those of uplinks for which WithIntervals says nothing
// else.
func DefaultIntervals() Intervals {
	return Intervals{
		Ping:       30 * time.Second,
		Neighbours: 5 * time.Minute,
		LookAgain:  3 * time.Second,
		FirstRetry: time.Second,
		LastRetry:  time.Minute,
	}
}

func (i Intervals) check() error {
	var errs []error
	for name, d := range map[string]time.Duration{"Ping": i.Ping, "Neighbours": i.Neighbours, "LookAgain": i.LookAgain, "FirstRetry": i.FirstRetry} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("intervals: %s is %v: want more than 0", name, d))
		}
	}
	if i.LastRetry < i.FirstRetry {
		errs = append(errs, fmt.Errorf("intervals: LastRetry is %v: want FirstRetry, %v, or more", i.LastRetry, i.FirstRetry))
	}
	return errors.Join(errs...)
}

type config struct {
	intervals Intervals
	listable  func() bool
	self      string
	log       *slog.Logger
	tracer    MetricsTracer
}

// Option sets a detail of Uplinks.
type Option func(*config) error

// WithIntervals sets the intervals, all of them: begin with DefaultIntervals.
func WithIntervals(i Intervals) Option {
	return func(c *config) error {
		c.intervals = i
		return i.check()
	}
}

// WithListable sets what tells whether this node may be listed by a gateway:
// whether it answers. It is asked before each PING. Without it it may.
func WithListable(listable func() bool) Option {
	return func(c *config) error {
		if listable == nil {
			return errors.New("nothing to tell whether this node may be listed")
		}
		c.listable = listable
		return nil
	}
}

// WithSelf sets the dialer.ClientID of this node's own certificate, by which it
// recognizes itself among the gateways.
func WithSelf(clientID string) Option {
	return func(c *config) error {
		if sum, err := hex.DecodeString(clientID); err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("own client id %q: want %d hexadecimal digits", clientID, 2*sha256.Size)
		}
		c.self = clientID
		return nil
	}
}

// WithLogger sets where the uplinks log; go-log's macula/uplink without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("no logger")
		}
		c.log = log
		return nil
	}
}
