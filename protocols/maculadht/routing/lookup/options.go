package lookup

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
)

// Option changes how [New] builds lookups.
type Option func(*config) error

type config struct {
	alpha, quorum       int
	query, slow, lookup time.Duration
	draw                func(n int) int
	observe             func(Hop)
	verifier            *signed.Verifier // nil where nothing is proved
	tracer              MetricsTracer
	spans               trace.Tracer // nil where nobody wants them
}

func defaults() config {
	return config{
		alpha:  DefaultAlpha,
		quorum: DefaultQuorum,
		draw:   rand.IntN,
		query:  DefaultQueryTimeout,
		slow:   DefaultSlow,
		lookup: DefaultLookupTimeout,
		tracer: noTracer{},
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
		return nil
	}
}

// WithQuorum sets how many answers with a value end a lookup for it, of those with no
// proved one only the first of each IP group (package diversity) counting; 0 means that the
// whole neighbourhood of the key is asked.
func WithQuorum(answers int) Option {
	return func(c *config) error {
		if answers < 0 {
			return fmt.Errorf("quorum %d: want 0 or more", answers)
		}
		c.quorum = answers
		return nil
	}
}

// WithDraw sets what draws, of the n that a lookup of values may ask next, which one it
// asks, nearest first, 0 to n-1: a simulation's own, to be the same each time. It has to be
// safe for concurrent use. Without it that is chance, which nobody can foresee.
func WithDraw(draw func(n int) int) Option {
	return func(c *config) error {
		if draw == nil {
			return errors.New("draw is nil")
		}
		c.draw = draw
		return nil
	}
}

// WithTimeouts sets how long one contact may take, after how long at most its slot in
// a lookup is given to another, and how long a whole lookup may take.
func WithTimeouts(query, slow, lookup time.Duration) Option {
	return func(c *config) error {
		if query <= 0 || slow <= 0 || lookup <= 0 {
			return fmt.Errorf("lookup timeouts %v, %v and %v: want more than 0", query, slow, lookup)
		}
		c.query, c.slow, c.lookup = query, slow, lookup
		return nil
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
		return nil
	}
}

// WithVerifier sets what verifies the proofs of values. Without it none is proved.
func WithVerifier(v *signed.Verifier) Option {
	return func(c *config) error {
		if v == nil {
			return errors.New("verifier is nil")
		}
		c.verifier = v
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

// WithTracerProvider has each lookup be a span of OpenTelemetry, and what it asks each
// contact one below it, of [MaxQuestionSpans] at most. There are none without it.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) error {
		if p == nil {
			return errors.New("tracer provider is nil")
		}
		c.spans = p.Tracer(scope)
		return nil
	}
}
