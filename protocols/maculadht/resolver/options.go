package resolver

import (
	"errors"
	"fmt"
	"time"
)

// Limits are what a [Resolver] may cost, and how long it remembers and waits.
type Limits struct {
	// Wait is the longest that an answer waits for its lookup.
	Wait time.Duration
	// LookupTime is the longest that a lookup may take.
	LookupTime time.Duration
	// Lookups and LookupsPerSource are how many lookups that somebody has asked for
	// are under way at a time, in all and for one source.
	Lookups, LookupsPerSource int
	// Refreshes is how many keys are refreshed, or asked for again after a miss, at a
	// time.
	Refreshes int
	// Waiters is how many answers wait for lookups at a time.
	Waiters int
	// Keys is how many keys are remembered, hits and misses together. Of more, the
	// one that nobody has asked for the longest goes.
	Keys int
	// Bytes is what all that is remembered may cost, with keys and overhead.
	Bytes int
	// BytesPerKey is how much is remembered under one key: of more, the values with
	// the longest life.
	BytesPerKey int
	// HitLife is how long what was found is remembered, if it lives as long, and
	// MissLife how long that there was nothing.
	HitLife, MissLife time.Duration
	// KeepFresh is for how long after a key was last asked for it is looked up again
	// before what was found is forgotten.
	KeepFresh time.Duration
}

// DefaultLimits returns those of a resolver for which [WithLimits] says nothing
// else: answers wait 400 ms at most, of lookups that take 10 s at most; 64 lookups
// at a time, 16 for one source, and 16 refreshes; 4,096 answers that wait; 16,384
// keys of 16 MiB, 256 KiB of one; hits for 60 s, misses for 15 s, and what was asked
// for within 5 min kept fresh.
func DefaultLimits() Limits {
	return Limits{
		Wait:             400 * time.Millisecond,
		LookupTime:       10 * time.Second,
		Lookups:          64,
		LookupsPerSource: 16,
		Refreshes:        16,
		Waiters:          4096,
		Keys:             16_384,
		Bytes:            16 << 20,
		BytesPerKey:      256 << 10,
		HitLife:          time.Minute,
		MissLife:         15 * time.Second,
		KeepFresh:        5 * time.Minute,
	}
}

func (l Limits) check() error {
	var errs []error
	for name, n := range map[string]int{
		"Lookups": l.Lookups, "LookupsPerSource": l.LookupsPerSource, "Refreshes": l.Refreshes, "Waiters": l.Waiters,
		"Keys": l.Keys, "Bytes": l.Bytes, "BytesPerKey": l.BytesPerKey,
	} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("limits: %s is %d: want 1 or more", name, n))
		}
	}
	for name, d := range map[string]time.Duration{
		"Wait": l.Wait, "LookupTime": l.LookupTime, "HitLife": l.HitLife, "MissLife": l.MissLife, "KeepFresh": l.KeepFresh,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("limits: %s is %v: want more than 0", name, d))
		}
	}
	return errors.Join(errs...)
}

type config struct {
	limits Limits
	tracer MetricsTracer
}

// Option sets a detail of a Resolver.
type Option func(*config) error

// WithLimits sets what the resolver may cost, DefaultLimits without it.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.check()
	}
}

// WithMetricsTracer sets who is told what the resolver does; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}
