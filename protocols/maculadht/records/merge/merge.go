// Package merge makes one list of the records of a key that are here and elsewhere.
package merge

import (
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// scanAtMost is how many pairs of records are compared one by one.
const scanAtMost = 256

// Append appends to into the live records of two lists of one key, of a
// provider that is in both the fresher one ([records.Record.IsFresher]): of a direct record
// that of here, unless what is elsewhere is proved, as it may be what was before, with a
// longer life, or a stranger's. The list begins with those of here, in their order.
// Where elsewhere adds nothing to here it appends nothing. The lists are not
// modified, and each names a provider once.
func Append(into, here, elsewhere []records.Record) []records.Record {
	if len(elsewhere) == 0 {
		return into
	}
	now := time.Now()
	at := func(r *records.Record) int { return slices.IndexFunc(here, r.IsOfSameProvider) }
	if len(here)*len(elsewhere) > scanAtMost {
		byProvider := make(map[string]int, len(here))
		for i := range here {
			byProvider[here[i].Provider()] = i
		}
		at = func(r *records.Record) int {
			if i, there := byProvider[r.Provider()]; there {
				return i
			}
			return -1
		}
	}
	start := len(into)
	for i := range elsewhere {
		r := &elsewhere[i]
		if !r.Live(now) {
			continue
		}
		same := at(r)
		if same >= 0 && !r.IsFresher(&here[same]) {
			continue
		}
		if len(into) == start {
			into = append(into, here...)
		}
		if same >= 0 {
			into[start+same] = *r
		} else {
			into = append(into, *r)
		}
	}
	return into
}
