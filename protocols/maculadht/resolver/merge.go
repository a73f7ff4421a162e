package resolver

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// merger gathers what holders have while they answer: of one provider's records, or
// of the same value without provider, the freshest (records.Record.IsFresher); MaxProviders
// and limit bytes of them at most, those that their holders told of first. It is safe
// for concurrent use.
type merger struct {
	limit int // in bytes, with overhead

	mu         sync.Mutex
	byProvider map[string]records.Record
	turns      map[string]int // by provider, the best place that a holder's list has it at
	size       int
	sorted     []records.Record // longest life first, never written to; nil where something is new
}

// cost is what a record is counted as.
func cost(r *records.Record) int {
	c := len(r.Value) + recordOverhead
	if r.Proof != nil {
		c += len(r.Proof.Envelope)
	}
	return c
}

func (m *merger) add(values []lookup.FoundValue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for turn, v := range values {
		m.put(v.Record(), turn)
	}
	if len(m.byProvider) > records.MaxProviders || m.size > m.limit {
		m.shrink()
	}
}

func (m *merger) put(rec records.Record, turn int) {
	provider := rec.Provider()
	old, there := m.byProvider[provider]
	if there {
		turn = min(turn, m.turns[provider])
		m.turns[provider] = turn
	}
	switch {
	case there && !rec.IsFresher(&old):
		return
	case there:
		m.size -= cost(&old)
	case m.byProvider == nil:
		m.byProvider, m.turns = make(map[string]records.Record), make(map[string]int)
	}
	m.byProvider[provider], m.turns[provider] = rec, turn
	m.size += cost(&rec)
	m.sorted = nil
}

// shrink keeps what each holder told of first, in turn, as far as there is room: how long
// a record lives anybody can say.
func (m *merger) shrink() {
	all, turns := slices.Clone(m.sort()), m.turns
	slices.SortStableFunc(all, func(a, b records.Record) int { return cmp.Compare(turns[a.Provider()], turns[b.Provider()]) })
	m.byProvider, m.turns, m.size, m.sorted = nil, nil, 0, nil
	for i := range all {
		if len(m.byProvider) < records.MaxProviders && m.size+cost(&all[i]) <= m.limit {
			m.put(all[i], turns[all[i].Provider()])
		}
	}
}

// sort returns all, longest life first.
func (m *merger) sort() []records.Record {
	if m.sorted == nil {
		m.sorted = slices.SortedFunc(maps.Values(m.byProvider), func(a, b records.Record) int {
			return cmp.Or(b.Expires.Compare(a.Expires), bytes.Compare(a.Value, b.Value))
		})
	}
	return m.sorted
}

// records returns those that are alive and not withdrawn, longest life first. They must
// not be modified.
func (m *merger) records(now time.Time) []records.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.sort()
	live, _ := slices.BinarySearchFunc(all, now, func(r records.Record, now time.Time) int {
		if r.Live(now) {
			return -1
		}
		return 1
	})
	all = all[:live:live]
	if slices.ContainsFunc(all, isTombstone) {
		all = slices.DeleteFunc(slices.Clone(all), isTombstone)
	}
	return all
}

func isTombstone(r records.Record) bool { return r.IsTombstone() }
