package routing

import (
	"errors"
	"fmt"
	"time"
)

// DefaultSweepInterval is how often expired records are cleared away.
const DefaultSweepInterval = time.Minute

// Option changes how NewServer builds a server.
type Option func(*config) error

type config struct {
	records       RecordStore
	total         int64
	perSource     int64
	bucketSize    int
	limit         diversity
	sweepInterval time.Duration
}

// WithRecordStore keeps the records in store instead of in memory. The server
// closes it; if NewServer fails, it stays the caller's.
func WithRecordStore(store RecordStore) Option {
	return func(c *config) error {
		if store == nil {
			return errors.New("record store is nil")
		}
		c.records = store
		return nil
	}
}

// WithStoreBudget sets what all records may cost, in bytes of values and keys
// plus [RecordOverhead] each, and how much of that one source may use.
// The defaults are [DefaultStoreBudget] and a sixteenth of it.
func WithStoreBudget(total, perSource int64) Option {
	return func(c *config) error {
		if perSource < 1 || total < perSource {
			return fmt.Errorf("store budget %d, per source %d: want 1 <= per source <= total", total, perSource)
		}
		c.total, c.perSource = total, perSource
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
