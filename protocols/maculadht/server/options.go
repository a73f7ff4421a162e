package server

import (
	"errors"
	"fmt"
)

// Option sets a detail of a Mux.
type Option func(*config) error

type config struct {
	limits Limits
	tracer MetricsTracer
	strict bool
}

// WithLimits sets the limits of streams and peers, DefaultLimits without it.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.Validate()
	}
}

// WithMetricsTracer sets who is told what happens on the streams.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}

func newConfig(opts []Option) (config, error) {
	c := config{limits: DefaultLimits(), tracer: noTracer{}}
	for _, opt := range opts {
		if opt == nil {
			return c, errors.New("server: a nil option")
		}
		if err := opt(&c); err != nil {
			return c, fmt.Errorf("server: %w", err)
		}
	}
	return c, nil
}
