package rpc

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/macula-mesh/macula-node/internal/logs"
)

// Limits are what calls may take.
type Limits struct {
	// Pending is how many calls may be under way, of all callers together.
	Pending int
	// PerCaller is how many of them may be of one caller: a libp2p peer, an IPv4
	// address or an IPv6 /64.
	PerCaller int
	// Time is how long a call may take that says nothing of that: less than the 5 s
	// after which an Erlang caller crashes that was not answered.
	Time time.Duration
	// MaxTime is how long one may take that says so, and for how long a node that was
	// passed an RPC_REQUEST may answer it.
	MaxTime time.Duration
	// Running is how many calls one served procedure may have under way, and Waiting how
	// many more may wait for one of them to end; and both of a client that is asked, and of
	// a node that calls are passed on to. Where more wait who has most of them has one
	// give way, and what waits has its turn by who calls.
	Running, Waiting int
	// Procedures is how many procedures one stream may register, and Registered how
	// many all of them may.
	Procedures, Registered int
	// Lookups is how many providers may be looked up at a time; as many more as Waiting
	// says have their turn by who calls.
	Lookups int
}

// DefaultLimits returns 16,384 calls, 1,024 of one caller, 4.5 s and 60 s, 256 at
// once of one procedure, client or node that is asked and as many that wait, 256
// procedures a stream, 16,384 in all, and 64 lookups.
func DefaultLimits() Limits {
	return Limits{Pending: 16_384, PerCaller: 1024, Time: 4500 * time.Millisecond, MaxTime: time.Minute,
		Running: 256, Waiting: 256, Procedures: 256, Registered: 16_384, Lookups: 64}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	switch {
	case l.Pending < 1 || l.PerCaller < 1 || l.Running < 1 || l.Waiting < 1 || l.Procedures < 1 || l.Registered < 1 || l.Lookups < 1:
		return fmt.Errorf("limits %+v: want one of each at least", l)
	case l.Time <= 0 || l.MaxTime < l.Time:
		return fmt.Errorf("calls of %v, and of %v at most: want more than no time, and the second not below the first", l.Time, l.MaxTime)
	}
	return nil
}

type config struct {
	limits Limits
	log    *slog.Logger
	tracer MetricsTracer
}

// Option sets a detail of Calls.
type Option func(*config) error

// WithLimits sets what calls may take, DefaultLimits without it.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.Validate()
	}
}

// WithLogger sets where it is logged what a program's procedures break by; go-log's
// macula/rpc without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("logger is nil")
		}
		c.log = log
		return nil
	}
}

func newConfig(opts []Option) (config, error) {
	c := config{limits: DefaultLimits(), log: logs.Logger("rpc"), tracer: noTracer{}}
	for _, opt := range opts {
		if opt == nil {
			return c, errors.New("a nil option")
		}
		if err := opt(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}
