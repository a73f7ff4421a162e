package resolver

import (
	"errors"
	"fmt"
	"time"
)

// Limits are what a [Resolver] may cost, and how long it remembers and waits.
type Limits struct {
	// Wait is the longest that the answer to a client, on a stream that has CONNECTed,
	// waits for its lookup, and GatewayWait that on any other stream. Those may be of
	// an Erlang gateway that has a miss, asks all nodes that it knows one after the
	// other, and crashes after 10 s.
	Wait, GatewayWait time.Duration
	// LookupTime is the longest that a lookup may take.
	LookupTime time.Duration
	// Alpha is how many contacts a lookup asks at a time.
	Alpha int
	// Lookups, LookupsPerGroup and LookupsPerSource are how many lookups that somebody
	// has asked for are under way at a time, in all, for one IP group and for one
	// source. A source in no group is one by itself.
	Lookups, LookupsPerGroup, LookupsPerSource int
	// Refreshes, RefreshesPerGroup and RefreshesPerSource are how many keys are
	// refreshed, or asked for again after a miss, at a time; they count for who asked
	// for the key last.
	Refreshes, RefreshesPerGroup, RefreshesPerSource int
	// Waiters, WaitersPerGroup and WaitersPerSource are how many answers wait for
	// lookups at a time.
	Waiters, WaitersPerGroup, WaitersPerSource int
	// Followed, FollowedPerGroup and FollowedPerSource are of how many keys that were found
	// others are asked to tell when they change; they count for who asked for the key last
	// when that began.
	Followed, FollowedPerGroup, FollowedPerSource int
	// Keys is how many keys are remembered, hits and misses together. Of more, the
	// one that nobody has asked for the longest goes.
	Keys int
	// Bytes is what all that is remembered may cost, with keys and overhead.
	Bytes int
	// BytesPerKey is how much is remembered under one key, and gathered while it is
	// looked up: of more, the values with the longest life.
	BytesPerKey int
	// HitLife is how long what was found is remembered, if it lives as long, and
	// MissLife how long that there was nothing.
	HitLife, MissLife time.Duration
	// KeepFresh is for how long after a key was last asked for it is looked up again
	// before what was found is forgotten.
	KeepFresh time.Duration
}

// DefaultLimits returns those of a resolver for which [WithLimits] says nothing
// else: answers wait 400 ms at most, those to who is no client 200 ms, of lookups that
// take 10 s at most and ask 6 contacts at a time; 64 lookups at a time, 32 for one IP
// group and 16 for one source; 16 refreshes, 8 and 4; 4,096 answers that wait, 2,048
// and 1,024; 64 keys followed, 32 and 16; 16,384 keys of 16 MiB, 256 KiB of one; hits for 60 s, misses for 15 s, and what was asked
// for within 5 min kept fresh.
func DefaultLimits() Limits {
	return Limits{
		Wait:               400 * time.Millisecond,
		GatewayWait:        200 * time.Millisecond,
		LookupTime:         10 * time.Second,
		Alpha:              6,
		Lookups:            64,
		LookupsPerGroup:    32,
		LookupsPerSource:   16,
		Refreshes:          16,
		RefreshesPerGroup:  8,
		RefreshesPerSource: 4,
		Waiters:            4096,
		WaitersPerGroup:    2048,
		WaitersPerSource:   1024,
		Followed:           64,
		FollowedPerGroup:   32,
		FollowedPerSource:  16,
		Keys:               16_384,
		Bytes:              16 << 20,
		BytesPerKey:        256 << 10,
		HitLife:            time.Minute,
		MissLife:           15 * time.Second,
		KeepFresh:          5 * time.Minute,
	}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	var errs []error
	for name, n := range map[string]int{
		"Alpha":   l.Alpha,
		"Lookups": l.Lookups, "LookupsPerGroup": l.LookupsPerGroup, "LookupsPerSource": l.LookupsPerSource,
		"Refreshes": l.Refreshes, "RefreshesPerGroup": l.RefreshesPerGroup, "RefreshesPerSource": l.RefreshesPerSource,
		"Waiters": l.Waiters, "WaitersPerGroup": l.WaitersPerGroup, "WaitersPerSource": l.WaitersPerSource,
		"Followed": l.Followed, "FollowedPerGroup": l.FollowedPerGroup, "FollowedPerSource": l.FollowedPerSource,
		"Keys": l.Keys, "Bytes": l.Bytes, "BytesPerKey": l.BytesPerKey,
	} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("limits: %s is %d: want 1 or more", name, n))
		}
	}
	for name, d := range map[string]time.Duration{
		"Wait": l.Wait, "GatewayWait": l.GatewayWait, "LookupTime": l.LookupTime, "HitLife": l.HitLife, "MissLife": l.MissLife, "KeepFresh": l.KeepFresh,
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
		return l.Validate()
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
