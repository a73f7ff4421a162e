package budget

import (
	"container/list"
	"time"

	"golang.org/x/time/rate"
)

// entry is what the accounts of one source, or of one group, share.
type entry struct {
	name   string
	frames *rate.Limiter
	held   held

	refs int           // accounts open; guarded by Budget.mu
	idle *list.Element // while remembered, nil else; guarded by Budget.mu
}

// full reports whether forgetting e would gain it nothing.
func (e *entry) full(now time.Time) bool {
	return e.frames.TokensAt(now) >= float64(e.frames.Burst())
}

// table has the entries that are open, and those that are remembered because
// their frames were used up. Budget.mu guards it.
type table struct {
	share    Share
	remember int
	entries  map[string]*entry
	idle     list.List // the remembered *entry, longest closed first
}

func newTable(share Share, remember int) table {
	return table{share: share, remember: remember, entries: make(map[string]*entry)}
}

func (t *table) open(name string) *entry {
	e := t.entries[name]
	if e == nil {
		e = &entry{name: name, frames: rate.NewLimiter(t.share.FrameRate, t.share.FrameBurst)}
		t.entries[name] = e
	}
	if e.idle != nil {
		t.idle.Remove(e.idle)
		e.idle = nil
	}
	e.refs++
	return e
}

func (t *table) close(e *entry, now time.Time) {
	if e.refs--; e.refs > 0 {
		return
	}
	e.idle = t.idle.PushBack(e)
	if e.full(now) {
		t.drop(e)
	}
	t.forget(now)
}

// forget drops the oldest entries that are full again, or too many.
func (t *table) forget(now time.Time) {
	for first := t.idle.Front(); first != nil; first = t.idle.Front() {
		e := first.Value.(*entry)
		if t.idle.Len() <= t.remember && !e.full(now) {
			return
		}
		t.drop(e)
	}
}

func (t *table) drop(e *entry) {
	t.idle.Remove(e.idle)
	delete(t.entries, e.name)
}
