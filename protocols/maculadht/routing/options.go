package routing

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

// Option changes how [NewServer] builds a server.
type Option func(*config) error

type config struct {
	records    *records.Manager
	bucketSize int
	limits     diversity.Limits
	tracer     MetricsTracer
}

func defaults() config {
	return config{
		bucketSize: BucketSize,
		limits:     diversity.Defaults(),
		tracer:     noTracer{},
	}
}

// WithRecords has the server use these records, which stay the caller's to close,
// after the server. Without it the server has its own, in memory.
func WithRecords(m *records.Manager) Option {
	return func(c *config) error {
		if m == nil {
			return errors.New("records manager is nil")
		}
		c.records = m
		return nil
	}
}

// WithBucketSize sets how many contacts a bucket of the table holds, by default
// [BucketSize].
func WithBucketSize(size int) Option {
	return func(c *config) error {
		if size < 1 {
			return fmt.Errorf("bucket size %d: want at least 1", size)
		}
		c.bucketSize = size
		return nil
	}
}

// WithDiversity sets how many contacts of one IP group have a place in a bucket, in the
// table and in lists, and whether private addresses are in groups too; by default
// [diversity.Defaults].
func WithDiversity(limits diversity.Limits) Option {
	return func(c *config) error {
		if err := limits.Validate(); err != nil {
			return err
		}
		c.limits = limits
		return nil
	}
}

// WithMetricsTracer has what happens told to tracer.
func WithMetricsTracer(tracer MetricsTracer) Option {
	return func(c *config) error {
		if tracer == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = tracer
		return nil
	}
}
