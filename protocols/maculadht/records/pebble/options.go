package pebble

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/disk"
)

// What a store may take of a disk where nothing is said.
const (
	// DefaultMaxBytes is for all files of the store: 1 GiB.
	DefaultMaxBytes = 1 << 30
	// DefaultReserve is what is left of the disk to others: 32 MiB.
	DefaultReserve = 32 << 20
)

// Option changes how Open opens a store.
type Option func(*config) error

type config struct {
	log      *slog.Logger
	tracer   MetricsTracer
	maxBytes int64
	reserve  int64
	fs       vfs.FS
	step     func() time.Duration
	// tick is how often the disk is looked at, and opened again while it fails.
	tick time.Duration
	// answerWithin is how long the disk may take for anything, closeWithin for the end.
	answerWithin, closeWithin time.Duration
	// compactEvery is how often a store without room is cleared of what is gone.
	compactEvery time.Duration
	// tidyEvery is how often any other is looked at for what is gone.
	tidyEvery time.Duration
}

func newConfig(opts []Option) (config, error) {
	cfg := config{
		log: logs.Logger("store"), tracer: noTracer{},
		maxBytes: DefaultMaxBytes, reserve: DefaultReserve,
		fs: disk.Private{FS: vfs.Default}, step: func() time.Duration { return 0 }, tick: time.Second, compactEvery: 10 * time.Second, tidyEvery: time.Minute,
		answerWithin: answerWithin, closeWithin: closeWithin,
	}
	for _, opt := range opts {
		if opt == nil {
			return cfg, errors.New("records/pebble: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return cfg, fmt.Errorf("records/pebble option: %w", err)
		}
	}
	return cfg, nil
}

// WithLogger has the store log to log instead of as the subsystem macula/store. What
// Pebble itself says is logged at debug.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("logger is nil")
		}
		c.log = log
		return nil
	}
}

// WithMetricsTracer has what the store does told to tracer.
func WithMetricsTracer(tracer MetricsTracer) Option {
	return func(c *config) error {
		if tracer == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = tracer
		return nil
	}
}

// minBytes is what a store may always take: its logs alone are as large as a few of
// the tables in memory.
const minBytes = 8 * database.MemTableBytes

// WithMaxBytes bounds what the store's files take, in bytes; by default it is
// [DefaultMaxBytes]. Above it values are refused with [ErrNoRoom], until what is gone
// has been cleared away; what merging the files may add is counted in. Less than 32 MiB
// is an error.
func WithMaxBytes(n int64) Option {
	return func(c *config) error {
		if n < minBytes {
			return fmt.Errorf("%d bytes on the disk at most: want at least %d", n, minBytes)
		}
		c.maxBytes = n
		return nil
	}
}

// WithReserve sets how much of the disk is left to others, in bytes; by default it is
// [DefaultReserve]. Where less is free values are refused with [ErrNoRoom].
func WithReserve(n int64) Option {
	return func(c *config) error {
		if n < 0 {
			return fmt.Errorf("a reserve of %d bytes: want 0 or more", n)
		}
		c.reserve = n
		return nil
	}
}

// WithFS has the store in another file system than the machine's, such as one that
// loses power in a test.
func WithFS(fs vfs.FS) Option {
	return func(c *config) error {
		if fs == nil {
			return errors.New("file system is nil")
		}
		c.fs = fs
		return nil
	}
}

// withStep has the wall clock set ahead by what step returns.
func withStep(step func() time.Duration) Option {
	return func(c *config) error {
		c.step = step
		return nil
	}
}
