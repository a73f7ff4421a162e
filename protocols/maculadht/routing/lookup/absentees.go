package lookup

import (
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// AbsentTTL is for how long a contact that did not answer a lookup is asked last
	// by others, though somebody names it.
	AbsentTTL = time.Minute
	// maxAbsent is how many such contacts are kept in mind. Of more, the oldest go.
	maxAbsent = 1024
)

// absentees remembers who did not answer: lists may name it for a while yet. What is
// known of contacts of our own stands in the table. It is safe for concurrent use.
type absentees struct {
	mu    sync.Mutex
	since map[routing.ID]time.Time
	order []routing.ID // the oldest first; may name some that are not there any more
}

func (a *absentees) add(id routing.ID, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since == nil {
		a.since = make(map[routing.ID]time.Time)
	}
	a.since[id] = now
	a.order = append(a.order, id)
	for len(a.order) > maxAbsent {
		delete(a.since, a.order[0])
		a.order = a.order[1:]
	}
}

func (a *absentees) remove(id routing.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.since, id)
}

func (a *absentees) has(id routing.ID, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	since, there := a.since[id]
	return there && now.Sub(since) < AbsentTTL
}
