// Package metrics tells Prometheus what a node does: it implements the MetricsTracer of
// each package, and reads at each scrape what there is at the moment.
//
// Labels take values that this program knows: types, results, reasons, kinds. None is
// ever a peer id, a key, a topic or a procedure, so that nobody makes series by what he
// sends. What is counted on the way of a frame allocates nothing.
package metrics
