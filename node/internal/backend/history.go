package backend

import (
	"context"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

const (
	// sampleTime is how often a sample is taken.
	sampleTime = 5 * time.Second
	// maxSamples is how many are kept: those of 15 minutes, in some 25 kB.
	maxSamples = int(15 * time.Minute / sampleTime)
)

// history keeps the last samples; the zero value has none.
type history struct {
	mu      sync.Mutex
	samples []schema.Sample // a ring once it is full
	next    int             // the oldest, where it is
	before  schema.Sample   // all that had happened by the last
	at      time.Time       // when that was taken, by the monotonic clock too
}

// enter takes all that has happened by a time, and since when the first sample counts. The
// times have a monotonic reading: an operator may set the clock between two samples.
func (h *history) enter(now schema.Sample, began, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() {
		h.at = began
	}
	s := since(h.before, now)
	s.Time, s.Seconds = at.UTC().Truncate(time.Millisecond), at.Sub(h.at).Seconds()
	h.before, h.at = now, at
	if len(h.samples) < maxSamples {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.next] = s
	h.next = (h.next + 1) % maxSamples
}

func (h *history) all() []schema.Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append(append([]schema.Sample{}, h.samples[h.next:]...), h.samples[:h.next]...)
}

// since takes from the counters of now what they were before.
func since(before, now schema.Sample) schema.Sample {
	for _, c := range []struct {
		now    *uint64
		before uint64
	}{
		{&now.Requests, before.Requests}, {&now.Stored, before.Stored}, {&now.Published, before.Published},
		{&now.Received, before.Received}, {&now.Delivered, before.Delivered}, {&now.Calls, before.Calls},
		{&now.Refused, before.Refused}, {&now.Unstored, before.Unstored}, {&now.Dropped, before.Dropped}, {&now.Failed, before.Failed},
	} {
		*c.now -= min(c.before, *c.now)
	}
	return now
}

// History implements api.State.
func (b *Backend) History() schema.History {
	return schema.History{Every: sampleTime.Seconds(), Samples: b.history.all()}
}

// sampleAll takes samples until ctx ends.
func (b *Backend) sampleAll(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.history.enter(b.sample(), began, time.Now())
		}
	}
}

// sample is all that has happened since the node's start.
func (b *Backend) sample() schema.Sample {
	mux, kept, topics, calls := b.Service.Handlers().Mux().Stats(), b.records().Stats(), b.Topics.Stats(), b.Calls.Stats()
	s := schema.Sample{
		Requests: mux.Frames, Stored: kept.Stored + kept.Replaced,
		Published: topics.Published, Received: topics.Received, Delivered: topics.Delivered, Calls: calls.Calls,
		Unstored: kept.NotOwner + kept.OverBudget + kept.KeyFull,
		Dropped:  topics.Incomplete + topics.Unmet + topics.Misrouted + topics.Busy + topics.Refused + topics.Overflowed + topics.Unsent,
		Failed:   calls.Failed + calls.Late + calls.BusyCaller + calls.BusyAll + calls.BusyProvider,
		Peers:    len(b.Host.Network().Peers()), Contacts: len(b.Service.Routing().Contacts()), Records: kept.Records,
	}
	for _, n := range refusals(b.Refused()) {
		s.Refused += n
	}
	return s
}
