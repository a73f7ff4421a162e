package replication

import (
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/values"
)

// Limits are what an [Adopter] may cost.
type Limits struct {
	// Records, RecordsPerGroup and RecordsPerSource are how many records are adopted at
	// a time, in all, of one IP group and of one source. Of more, the one goes that was
	// not renewed for the longest: of the source itself, of the source that has most in
	// its group, or of that in the group that has most. A source in no group is one by
	// itself.
	Records, RecordsPerGroup, RecordsPerSource int
	// Jobs, JobsPerGroup and JobsPerSource are how many records are replicated at a
	// time, in all, of one group and of one source.
	Jobs, JobsPerGroup, JobsPerSource int
	// Rate is how many records a second are replicated, after Burst at once.
	Rate, Burst int
	// BytesPerSource and BytesPerGroup are how many bytes of keys and values a second are
	// replicated of one source and of one group, after BytesBurstPerSource and
	// BytesBurstPerGroup at once. Each record counts once, to however many nodes it
	// goes; one that is larger than what is left goes all the same, and the next one
	// waits the longer.
	BytesPerSource, BytesBurstPerSource int
	BytesPerGroup, BytesBurstPerGroup   int
	// JobTime is the longest that it may take to replicate a record.
	JobTime time.Duration
}

// DefaultLimits returns those of an adopter for which [WithLimits] says nothing
// else: 16,384 records, 8,192 of one IP group and 4,096 of one source; 16 replicated
// at a time, 12 of one group and 8 of one source, 32 a second after 128 at once, each in 30 s at most; 64 KiB a second of one
// source after 1 MiB at once, and twice as much of one group.
func DefaultLimits() Limits {
	return Limits{
		Records: 16_384, RecordsPerGroup: 8192, RecordsPerSource: 4096,
		Jobs: 16, JobsPerGroup: 12, JobsPerSource: 8,
		Rate: 32, Burst: 128,
		BytesPerSource: 64 << 10, BytesBurstPerSource: 1 << 20,
		BytesPerGroup: 128 << 10, BytesBurstPerGroup: 2 << 20,
		JobTime: 30 * time.Second,
	}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	var errs []error
	for name, n := range map[string]int{
		"Records": l.Records, "RecordsPerGroup": l.RecordsPerGroup, "RecordsPerSource": l.RecordsPerSource,
		"Jobs": l.Jobs, "JobsPerGroup": l.JobsPerGroup, "JobsPerSource": l.JobsPerSource,
		"Rate": l.Rate, "Burst": l.Burst,
		"BytesPerSource": l.BytesPerSource, "BytesBurstPerSource": l.BytesBurstPerSource,
		"BytesPerGroup": l.BytesPerGroup, "BytesBurstPerGroup": l.BytesBurstPerGroup,
	} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("limits: %s is %d: want 1 or more", name, n))
		}
	}
	if l.JobTime <= 0 {
		errs = append(errs, fmt.Errorf("limits: JobTime is %v: want more than 0", l.JobTime))
	}
	return errors.Join(errs...)
}

type config struct {
	limits Limits
	filter func(key []byte, value values.Value) bool
	tracer MetricsTracer
}

// Option sets a detail of an Adopter.
type Option func(*config) error

// WithLimits sets what the adopter may cost, DefaultLimits without it.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.Validate()
	}
}

// WithFilter sets which values are adopted; those for which filter is false are not.
// Without it all are that may be stored.
func WithFilter(filter func(key []byte, value values.Value) bool) Option {
	return func(c *config) error {
		if filter == nil {
			return errors.New("filter is nil")
		}
		c.filter = filter
		return nil
	}
}

// WithMetricsTracer sets who is told what the adopter does; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}
