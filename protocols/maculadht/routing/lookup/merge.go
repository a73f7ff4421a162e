package lookup

import (
	"cmp"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// maxMerged is how many bytes of values a lookup gathers. Of more, those go that their
// holders told of last.
const maxMerged = 8 << 20

// merger gathers the values of several holders: records.MaxProviders, and limit bytes
// of them, at most. Of one provider's, or of the same value without provider, the
// one with the most life left stays.
type merger struct {
	byProvider map[string]FoundValue
	turns      map[string]int // by provider, the best place that a holder's list has it at
	bytes      int
	limit      int // 0 for maxMerged
}

func (m *merger) maxBytes() int { return cmp.Or(m.limit, maxMerged) }

// add takes in what one holder has, in the order in which it tells of it.
func (m *merger) add(values ...FoundValue) {
	if m.byProvider == nil {
		m.byProvider, m.turns = make(map[string]FoundValue), make(map[string]int)
	}
	for turn, v := range values {
		provider := providerOf(&v)
		old, there := m.byProvider[provider]
		if best, told := m.turns[provider]; !told || turn < best {
			m.turns[provider] = turn
		}
		if there && !v.Expires.After(old.Expires) {
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
	return !there || v.Expires.Sub(old.Expires) > fresherBy
}

// shrink keeps what each holder told of first, in turn: how long a value lives anybody
// can say, and one holder who says much leaves room for what the others have.
func (m *merger) shrink() {
	sorted := m.sorted()
	turn := func(v *FoundValue) int { return m.turns[providerOf(v)] }
	slices.SortStableFunc(sorted, func(a, b FoundValue) int { return cmp.Compare(turn(&a), turn(&b)) })
	all := *m
	*m = merger{limit: m.limit, byProvider: make(map[string]FoundValue), turns: make(map[string]int)}
	for i := range sorted {
		if len(m.byProvider) == records.MaxProviders || m.bytes+len(sorted[i].Raw) > m.maxBytes() {
			break
		}
		provider := providerOf(&sorted[i])
		m.byProvider[provider], m.turns[provider] = sorted[i], all.turns[provider]
		m.bytes += len(sorted[i].Raw)
	}
}

// values returns those that are still alive, longest life first.
func (m *merger) values(now time.Time) []FoundValue {
	return slices.DeleteFunc(m.sorted(), func(v FoundValue) bool { return !now.Before(v.Expires) })
}

func (m *merger) sorted() []FoundValue {
	out := make([]FoundValue, 0, len(m.byProvider))
	for _, v := range m.byProvider {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b FoundValue) int {
		if c := b.Expires.Compare(a.Expires); c != 0 {
			return c
		}
		return slices.Compare(a.Raw, b.Raw)
	})
	return out
}
