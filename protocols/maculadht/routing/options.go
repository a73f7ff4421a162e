package routing

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Option changes how [NewServer] builds a server.
type Option func(*config) error

type config struct {
	records    *records.Manager
	bucketSize int
	limit      diversity
	tracer     MetricsTracer
}

func defaults() config {
	return config{
		bucketSize: BucketSize,
		limit:      diversity{perBucket: DefaultPerBucket, perTable: DefaultPerTable},
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

// WithDiversity sets how many contacts whose id proves nothing (Erlang nodes) a
// bucket and the table take of one network, an IPv4 /24 or an IPv6 /48 of public
// addresses; by default [DefaultPerBucket] and [DefaultPerTable].
func WithDiversity(perBucket, perTable int) Option {
	return func(c *config) error {
		if perBucket < 1 || perTable < perBucket {
			return fmt.Errorf("diversity of %d a bucket, %d a table: want 1 <= a bucket <= a table", perBucket, perTable)
		}
		c.limit = diversity{perBucket: perBucket, perTable: perTable}
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
