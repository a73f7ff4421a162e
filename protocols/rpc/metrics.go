package rpc

import (
	"errors"
	"time"
)

// Result is what came of a call.
type Result string

// The results.
const (
	ResultAnswered Result = "answered" // with a result
	ResultFailed   Result = "failed"   // with an error, be it the provider's
	ResultLate     Result = "late"     // nobody answered in time
)

// Refusal is why a call was answered busy.
type Refusal string

// The refusals.
const (
	RefusedCaller   Refusal = "caller"   // its caller had as many under way as one may
	RefusedAll      Refusal = "all"      // all callers had, and it or its network most
	RefusedProvider Refusal = "provider" // too many waited for who was to answer, and it or its network most
)

// MetricsTracer is told what becomes of calls. Its methods are called by many goroutines
// at once, on the way of each call, and must return at once.
type MetricsTracer interface {
	// CallDone is called for each call that was taken, with how long it took.
	CallDone(r Result, took time.Duration)
	// CallRefused is called for each that is answered busy: also where it was taken, and
	// gave way to others.
	CallRefused(why Refusal)
	// PassedOn is called for each call that went to another node of ours.
	PassedOn()
}

// WithMetricsTracer sets who is told what becomes of calls; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}

type noTracer struct{}

func (noTracer) CallDone(Result, time.Duration) {}
func (noTracer) CallRefused(Refusal)            {}
func (noTracer) PassedOn()                      {}
