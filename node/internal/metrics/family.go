package metrics

import (
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Buckets of histograms, in seconds unless it is said otherwise.
var (
	handling = []float64{.00005, .0002, .001, .005, .02, .1, .5, 2.5}                // of what is done here
	waiting  = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30} // of what others are asked
	living   = []float64{1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}                  // of what stays
	hops     = []float64{1, 2, 3, 4, 6, 8}                                           // steps
	sizes    = []float64{1, 2, 5, 10, 20, 50, 100, 320, 1000}                        // numbers of things
	bytes    = []float64{1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 23}
)

// other is the value of a label for what is none of the values that are known.
const other = "other"

// family makes metrics, and keeps them for who collects them.
type family struct{ all []prometheus.Collector }

func kept[C prometheus.Collector](f *family, c C) C {
	f.all = append(f.all, c)
	return c
}

func (f *family) counter(name, help string) prometheus.Counter {
	return kept(f, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
}

func (f *family) gauge(name, help string) prometheus.Gauge {
	return kept(f, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
}

func (f *family) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return kept(f, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func (f *family) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return kept(f, prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}))
}

func (f *family) histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return kept(f, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
}

// counters are those of one label's values, which are all there from the start.
type counters[K ~string] struct {
	of  map[K]prometheus.Counter
	vec *prometheus.CounterVec
}

func countersOf[K ~string](f *family, name, help, label string, values []K) counters[K] {
	c := counters[K]{of: make(map[K]prometheus.Counter, len(values)), vec: f.counterVec(name, help, label)}
	for _, v := range values {
		c.of[v] = c.vec.WithLabelValues(string(v))
	}
	return c
}

// get returns the counter of a value.
func (c counters[K]) get(v K) prometheus.Counter {
	if counter, known := c.of[v]; known {
		return counter
	}
	return c.vec.WithLabelValues(other)
}

// results are those of questions or lookups of one kind: how many, by result, and how
// long they took.
type results[R ~string] struct {
	values []R
	counts []prometheus.Counter
	other  prometheus.Counter
	took   prometheus.Observer
}

func resultsOf[R ~string](counts *prometheus.CounterVec, took prometheus.ObserverVec, values []R, labels ...string) *results[R] {
	child := func(v string) prometheus.Counter { return counts.WithLabelValues(append(slices.Clone(labels), v)...) }
	r := &results[R]{values: values, other: child(other), took: took.WithLabelValues(labels...)}
	for _, v := range values {
		r.counts = append(r.counts, child(string(v)))
	}
	return r
}

func (r *results[R]) done(v R, seconds float64) {
	r.took.Observe(seconds)
	if i := slices.Index(r.values, v); i >= 0 {
		r.counts[i].Inc()
		return
	}
	r.other.Inc()
}

// byType are results by message type, and by transport where that is said. Those of a type begin with the
// first message of it: there are 54 types, most of which nobody ever sends. All that are
// not known are one.
type byType[R ~string] struct {
	transport []string // one at most
	counts    *prometheus.CounterVec
	took      *prometheus.HistogramVec
	values    []R
	of        [256]atomic.Pointer[results[R]]
}

func (b *byType[R]) done(t wire.Type, v R, seconds float64) {
	if !t.Known() {
		t = 0 // which is none
	}
	r := b.of[t].Load()
	if r == nil {
		r = resultsOf(b.counts, b.took, b.values, append([]string{typeName(t)}, b.transport...)...) // the same children, whoever comes first
		b.of[t].Store(r)
	}
	r.done(v, seconds)
}

func typeName(t wire.Type) string {
	if !t.Known() {
		return "unknown"
	}
	return t.String()
}
