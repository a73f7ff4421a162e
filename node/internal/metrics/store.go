package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
)

var (
	recordRefusals = []records.Refusal{
		records.RefusedNotOwner, records.RefusedSuperseded, records.RefusedExpired, records.RefusedSourceBudget, records.RefusedGroupBudget,
		records.RefusedStoreFull, records.RefusedFar, records.RefusedKeyFull, records.RefusedStoreFailed,
	}
	evictions = []records.Eviction{records.EvictedKey, records.EvictedStore}
)

// storing implements records.MetricsTracer.
type storing struct {
	stored, replaced prometheus.Counter
	refused          counters[records.Refusal]
	expired          prometheus.Counter
	evicted          counters[records.Eviction]
	sweepFailed      prometheus.Counter
}

func newStoring(f *family) *storing {
	stored := f.counterVec("macula_records_stored_total", "Records that were stored: new, or in another's place", "kind")
	return &storing{
		stored: stored.WithLabelValues("new"), replaced: stored.WithLabelValues("replaced"),
		refused:     countersOf(f, "macula_records_refused_total", "Values that were not stored", "reason", recordRefusals),
		expired:     f.counter("macula_records_expired_total", "Records that came to the end of their life"),
		evicted:     countersOf(f, "macula_records_evicted_total", "Records that were dropped for another: of their key, or in a full store", "reason", evictions),
		sweepFailed: f.counter("macula_records_sweep_failures_total", "Times that the store failed when expired records were dropped"),
	}
}

// Stored implements records.MetricsTracer.
func (s *storing) Stored(replaced bool) {
	if replaced {
		s.replaced.Inc()
	} else {
		s.stored.Inc()
	}
}

// Refused implements records.MetricsTracer.
func (s *storing) Refused(reason records.Refusal) { s.refused.get(reason).Inc() }

// Expired implements records.MetricsTracer.
func (s *storing) Expired(n int) { s.expired.Add(float64(n)) }

// Evicted implements records.MetricsTracer.
func (s *storing) Evicted(why records.Eviction) { s.evicted.get(why).Inc() }

// SweepFailed implements records.MetricsTracer.
func (s *storing) SweepFailed() { s.sweepFailed.Inc() }

// Changed implements records.MetricsTracer. What there is the state tells, exactly.
func (s *storing) Changed(int64, int64, int64) {}

// disk implements pebble.MetricsTracer.
type disk struct {
	synced, unsynced *commits
	failed           prometheus.Counter
	outage           prometheus.Counter
	refused          prometheus.Counter
}

type commits struct{ took, updates, bytes prometheus.Observer }

func newDisk(f *family) *disk {
	took := f.histogramVec("macula_disk_commit_duration_seconds", "How long it took to write a batch of updates, and to sync it", handling, "synced")
	updates := f.histogramVec("macula_disk_commit_updates", "How many updates a batch had", sizes, "synced")
	size := f.histogramVec("macula_disk_commit_bytes", "How long a batch was", bytes, "synced")
	of := func(synced string) *commits {
		return &commits{took.WithLabelValues(synced), updates.WithLabelValues(synced), size.WithLabelValues(synced)}
	}
	return &disk{
		synced: of("true"), unsynced: of("false"),
		failed:  f.counter("macula_disk_failures_total", "Times that the disk began to fail"),
		outage:  f.counter("macula_disk_outage_seconds_total", "For how long it failed, of failures that have ended"),
		refused: f.counter("macula_disk_refused_total", "Updates that were refused for want of room"),
	}
}

// Committed implements pebble.MetricsTracer.
func (d *disk) Committed(updates, bytes int, synced bool, took time.Duration) {
	c := d.unsynced
	if synced {
		c = d.synced
	}
	c.took.Observe(took.Seconds())
	c.updates.Observe(float64(updates))
	c.bytes.Observe(float64(bytes))
}

// Failed implements pebble.MetricsTracer.
func (d *disk) Failed(error) { d.failed.Inc() }

// Recovered implements pebble.MetricsTracer.
func (d *disk) Recovered(after time.Duration) { d.outage.Add(after.Seconds()) }

// Refused implements pebble.MetricsTracer.
func (d *disk) Refused() { d.refused.Inc() }

var (
	_ records.MetricsTracer = (*storing)(nil)
	_ pebble.MetricsTracer  = (*disk)(nil)
)
