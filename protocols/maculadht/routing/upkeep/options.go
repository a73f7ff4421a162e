package upkeep

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"
)

// Option changes how [New] builds an upkeep.
type Option func(*config) error

type config struct {
	check, idle, retry time.Duration
	handOverDelay      time.Duration
	handOverRate       int         // bytes a second
	isDrawn            func() bool // of the other holders of a key, one in handOverDraw
	tracer             MetricsTracer
}

func defaults() config {
	return config{
		check:         DefaultCheckInterval,
		idle:          DefaultIdle,
		retry:         DefaultRetry,
		handOverDelay: DefaultHandOverDelay,
		handOverRate:  DefaultHandOverRate,
		isDrawn:       func() bool { return mathrand.IntN(handOverDraw) == 0 },
		tracer:        noTracer{},
	}
}

// WithChecks sets how often the table is looked over, for how long a contact or
// a bucket may be idle (a contact that is not connected half as long), and how long it is waited between questions to a contact
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

// WithMetricsTracer has what happens told to tracer as well as counted in [Stats].
func WithMetricsTracer(tracer MetricsTracer) Option {
	return func(c *config) error {
		if tracer == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = tracer
		return nil
	}
}
