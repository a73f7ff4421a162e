package routing

import (
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Option sets a detail of a [Server], of its [Lookups] or of their [Upkeep]. What
// is given to one of these holds for those that are made of it later: a server's
// options are its lookups' and its upkeep's too, unless they have others. One that
// comes too late, as what it is about is made already, fails with [ErrLateOption].
type Option func(*config) error

// ErrLateOption means that an option is about what was made before.
var ErrLateOption = errors.New("option comes too late")

// stage is how much has been made.
type stage uint8

const (
	nothing stage = iota
	madeServer
	madeLookups
)

type config struct {
	made stage

	// Of the server.
	records    *records.Manager
	bucketSize int
	limit      diversity
	tracer     MetricsTracer

	// Of lookups.
	alpha, quorum       int
	query, slow, lookup time.Duration
	observe             func(Hop)

	// Of the upkeep.
	check, idle, retry time.Duration
	handOverDelay      time.Duration
	handOverRate       int // bytes a second
}

func defaults() config {
	return config{
		bucketSize: BucketSize,
		limit:      diversity{perBucket: DefaultPerBucket, perTable: DefaultPerTable},
		tracer:     noTracer{},

		alpha:  DefaultAlpha,
		quorum: DefaultQuorum,
		query:  DefaultQueryTimeout,
		slow:   DefaultSlow,
		lookup: DefaultLookupTimeout,

		check:         DefaultCheckInterval,
		idle:          DefaultIdle,
		retry:         DefaultRetry,
		handOverDelay: DefaultHandOverDelay,
		handOverRate:  DefaultHandOverRate,
	}
}

// with returns c with options applied, as it holds from a stage on.
func (c config) with(opts []Option, made stage) (config, error) {
	for _, opt := range opts {
		if err := opt(&c); err != nil {
			return config{}, fmt.Errorf("routing option: %w", err)
		}
	}
	c.made = made
	return c, nil
}

// before refuses an option where what it is about was made.
func (c *config) before(made stage, option string) error {
	if c.made >= made {
		return fmt.Errorf("%w: %s", ErrLateOption, option)
	}
	return nil
}

// WithRecords has the server use these records, which stay the caller's to close,
// after the server. Without it the server has its own, in memory.
func WithRecords(m *records.Manager) Option {
	return func(c *config) error {
		if m == nil {
			return errors.New("records manager is nil")
		}
		c.records = m
		return c.before(madeServer, "records")
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
		return c.before(madeServer, "bucket size")
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
		return c.before(madeServer, "diversity")
	}
}

// WithMetricsTracer has what happens told to tracer as well as counted in [Stats].
func WithMetricsTracer(tracer MetricsTracer) Option {
	return func(c *config) error {
		if tracer == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = tracer
		return c.before(madeServer, "metrics tracer")
	}
}

// WithAlpha sets how many contacts a lookup asks at a time. A lookup of nodes that
// has heard the alpha nearest asks the rest of the BucketSize nearest at once.
func WithAlpha(alpha int) Option {
	return func(c *config) error {
		if alpha < 1 {
			return fmt.Errorf("alpha %d: want at least 1", alpha)
		}
		c.alpha = alpha
		return c.before(madeLookups, "alpha")
	}
}

// WithQuorum sets how many answers with a value end a lookup for it; 0 means
// that the whole neighbourhood of the key is asked.
func WithQuorum(answers int) Option {
	return func(c *config) error {
		if answers < 0 {
			return fmt.Errorf("quorum %d: want 0 or more", answers)
		}
		c.quorum = answers
		return c.before(madeLookups, "quorum")
	}
}

// WithTimeouts sets how long one contact may take, after how long its slot in a
// lookup is given to another, and how long a whole lookup may take.
func WithTimeouts(query, slow, lookup time.Duration) Option {
	return func(c *config) error {
		if query <= 0 || slow <= 0 || lookup <= 0 {
			return fmt.Errorf("lookup timeouts %v, %v and %v: want more than 0", query, slow, lookup)
		}
		c.query, c.slow, c.lookup = query, slow, lookup
		return c.before(madeLookups, "timeouts")
	}
}

// WithObserver has each answer shown to observe as it comes, those of one
// lookup one at a time, by the goroutine that called for the lookup.
func WithObserver(observe func(Hop)) Option {
	return func(c *config) error {
		if observe == nil {
			return errors.New("observer is nil")
		}
		c.observe = observe
		return c.before(madeLookups, "observer")
	}
}

// WithChecks sets how often the table is looked over, for how long a contact or
// a bucket may be idle, and how long it is waited between questions to a contact
// whose place another one waits for.
func WithChecks(every, idle, retry time.Duration) Option {
	return func(c *config) error {
		if every <= 0 || idle <= 0 || retry <= 0 {
			return fmt.Errorf("checks every %v, of what is idle for %v, again after %v: want more than 0", every, idle, retry)
		}
		c.check, c.idle, c.retry = every, idle, retry
		return nil
	}
}

// WithHandOver sets for how long newcomers are gathered before records are handed
// over to them, and how many bytes of records a second at most.
func WithHandOver(delay time.Duration, bytesPerSecond int) Option {
	return func(c *config) error {
		if delay <= 0 || bytesPerSecond < 1 {
			return fmt.Errorf("hand-over after %v, of %d bytes a second: want more than 0 of both", delay, bytesPerSecond)
		}
		c.handOverDelay, c.handOverRate = delay, bytesPerSecond
		return nil
	}
}
