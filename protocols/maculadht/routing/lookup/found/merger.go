package found

import (
	"cmp"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// maxMerged is how many bytes of values a lookup gathers. Of more, those go that their
// holders told of last.
const maxMerged = 8 << 20

// Merger gathers the values of several holders: records.MaxProviders, and Limit bytes
// of them, at most. Of one provider's, or of the same value without provider, the
// freshest stays (records.Record.IsFresher), be it that it was withdrawn.
type Merger struct {
	byProvider map[string]Value
	turns      map[string]int // by provider, the best place that a holder's list has it at
	bytes      int
	// Limit is how many bytes of values are kept, 8 MiB where it is 0.
	Limit int
}

func (m *Merger) maxBytes() int { return cmp.Or(m.Limit, maxMerged) }

// Add takes in what one holder has, in the order in which it tells of it.
func (m *Merger) Add(values ...Value) {
	if m.byProvider == nil {
		m.byProvider, m.turns = make(map[string]Value), make(map[string]int)
	}
	for turn, v := range values {
		provider := v.provider()
		old, there := m.byProvider[provider]
		if best, told := m.turns[provider]; !told || turn < best {
			m.turns[provider] = turn
		}
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

// IsFresher reports whether a value is of another provider than those that were added,
// or a fresher one of the same.
func (m *Merger) IsFresher(v Value) bool {
	old, there := m.byProvider[v.provider()]
	if c := v.Proof.Compare(old.Proof); there && c != 0 {
		return c > 0
	}
	return !there || v.Expires.Sub(old.Expires) > FresherBy
}

// shrink keeps what each holder told of first, in turn: how long a value lives anybody
// can say, and prove of themselves; one holder who says much leaves room for what the
// others have.
func (m *Merger) shrink() {
	sorted, turns := m.sorted(), m.turns
	slices.SortStableFunc(sorted, func(a, b Value) int { return cmp.Compare(turns[a.provider()], turns[b.provider()]) })
	*m = Merger{Limit: m.Limit, byProvider: make(map[string]Value), turns: make(map[string]int)}
	for _, v := range sorted {
		if len(m.byProvider) == records.MaxProviders || m.bytes+len(v.Raw) > m.maxBytes() {
			break
		}
		provider := v.provider()
		m.byProvider[provider], m.turns[provider] = v, turns[provider]
		m.bytes += len(v.Raw)
	}
}

// Values returns those that are still alive and not withdrawn, the proved ones first,
// then those with the longest life.
func (m *Merger) Values(now time.Time) []Value {
	return slices.DeleteFunc(m.sorted(), func(v Value) bool { return v.IsWithdrawn() || !now.Before(v.Expires) })
}

func (m *Merger) sorted() []Value {
	out := make([]Value, 0, len(m.byProvider))
	for _, v := range m.byProvider {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b Value) int {
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
