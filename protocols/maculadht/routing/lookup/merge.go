package lookup

import (
	"cmp"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// maxMerged is how many bytes of values a lookup gathers. Of more, those with
// the shortest life go.
const maxMerged = 8 << 20

// merger gathers the values of several holders: records.MaxProviders, and limit bytes
// of them, at most. Of one provider's, or of the same value without provider, the
// freshest stays (records.Record.IsFresher), be it that it was withdrawn.
type merger struct {
	byProvider map[string]FoundValue
	bytes      int
	limit      int // 0 for maxMerged
}

func (m *merger) maxBytes() int { return cmp.Or(m.limit, maxMerged) }

func (m *merger) add(values ...FoundValue) {
	if m.byProvider == nil {
		m.byProvider = make(map[string]FoundValue)
	}
	for _, v := range values {
		provider := providerOf(&v)
		old, there := m.byProvider[provider]
		if there && !v.isFresher(&old) {
			continue
		}
		m.byProvider[provider] = v
		m.bytes += len(v.Raw) - len(old.Raw)
	}
	if len(m.byProvider) > records.MaxProviders || m.bytes > m.maxBytes() {
		m.shrink()
	}
}

// providerOf names whose a value is.
func providerOf(v *FoundValue) string {
	if v.NodeID == nil {
		return "value:" + string(v.Raw)
	}
	return "id:" + string(v.NodeID)
}

// fresher reports whether a value is of another provider than those that were added,
// or a fresher one of the same.
func (m *merger) fresher(v FoundValue) bool {
	old, there := m.byProvider[providerOf(&v)]
	if c := v.Proof.Compare(old.Proof); there && c != 0 {
		return c > 0
	}
	return !there || v.Expires.Sub(old.Expires) > fresherBy
}

// shrink keeps the values that are proved and those with the longest life.
func (m *merger) shrink() {
	sorted := m.sorted()
	keep, size := 0, 0
	for keep < min(len(sorted), records.MaxProviders) && size+len(sorted[keep].Raw) <= m.maxBytes() {
		size += len(sorted[keep].Raw)
		keep++
	}
	*m = merger{limit: m.limit}
	m.add(sorted[:keep]...)
}

// values returns those that are still alive and not withdrawn, the proved ones first,
// then those with the longest life.
func (m *merger) values(now time.Time) []FoundValue {
	return slices.DeleteFunc(m.sorted(), func(v FoundValue) bool { return v.IsWithdrawn() || !now.Before(v.Expires) })
}

func (m *merger) sorted() []FoundValue {
	out := make([]FoundValue, 0, len(m.byProvider))
	for _, v := range m.byProvider {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b FoundValue) int {
		if proved := a.Proof != nil; proved != (b.Proof != nil) {
			if proved {
				return -1
			}
			return 1
		}
		if c := b.Expires.Compare(a.Expires); c != 0 {
			return c
		}
		return slices.Compare(a.Raw, b.Raw)
	})
	return out
}
