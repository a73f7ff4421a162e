package resolver

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// merger gathers what holders have while they answer: of one provider's records, or
// of the same value without provider, the one with the most life left.
type merger struct {
	byProvider map[string]records.Record
}

func (m *merger) add(values []lookup.FoundValue) {
	if m.byProvider == nil {
		m.byProvider = make(map[string]records.Record, len(values))
	}
	for _, v := range values {
		rec := recordOf(v)
		provider := rec.Provider()
		old, there := m.byProvider[provider]
		if there && !rec.Expires.After(old.Expires) || !there && len(m.byProvider) == records.MaxProviders {
			continue
		}
		m.byProvider[provider] = rec
	}
}

// records returns those that are alive, longest life first.
func (m *merger) records(now time.Time) []records.Record {
	live := slices.DeleteFunc(slices.Collect(maps.Values(m.byProvider)), func(r records.Record) bool { return !r.Live(now) })
	slices.SortFunc(live, func(a, b records.Record) int {
		return cmp.Or(b.Expires.Compare(a.Expires), bytes.Compare(a.Value, b.Value))
	})
	return live
}

func recordOf(v lookup.FoundValue) records.Record {
	return records.Record{Value: v.Raw, NodeID: v.NodeID, Expires: v.Expires}
}
