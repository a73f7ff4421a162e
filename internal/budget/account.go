package budget

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// How many frames an account takes from its group's at a time, so that not each
// one costs a second limiter that all of the group share: a batchShare-th of the
// group's burst, and at most maxBatch. What is not used goes back with Close;
// until then it is missing to the others of the group, who are never allowed
// more for it.
const (
	maxBatch   = 64
	batchShare = 1024
)

// Account is one handle on what a source, and its group, may use. All handles of
// a source share its limits, all of a group the group's. It is a framing.Memory.
type Account struct {
	budget *Budget
	who    Source
	source *entry // nil for this node itself
	group  *entry // nil for none

	credit atomic.Int64 // frames taken from the group's and not used yet
	closed atomic.Bool
}

// Source returns whose account it is.
func (a *Account) Source() Source { return a.who }

// Close ends the handle; a second Close does nothing. It does not give back what
// is held: whoever took that does so before.
func (a *Account) Close() {
	if a.closed.Swap(true) || a.source == nil {
		return
	}
	b := a.budget
	now := time.Now()
	if a.group != nil {
		refund(a.group.frames, now, int(a.credit.Swap(0)))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sources.close(a.source, now)
	if a.group != nil {
		b.groups.close(a.group, now)
	}
}

// AllowFrames reports whether the source, and its group, may send what costs as
// much as n frames, now. If so both are charged, if not neither is. It does not
// wait, and allocates nothing. An n of less than 1 costs nothing; one above a
// burst is never allowed.
func (a *Account) AllowFrames(n int) bool {
	if n < 1 || a.source == nil || a.budget.free {
		return true
	}
	now := time.Now()
	if !a.source.frames.AllowN(now, n) {
		return false
	}
	if a.group == nil || a.chargeGroup(now, n) {
		return true
	}
	refund(a.source.frames, now, n)
	return false
}

// chargeGroup takes n frames from the credit; or from the group, and a batch of
// credit with them; or, if they are many or the group has little left, n alone.
func (a *Account) chargeGroup(now time.Time, n int) bool {
	if a.spend(int64(n)) {
		return true
	}
	if batch := a.budget.batch; n <= batch && a.group.frames.AllowN(now, n+batch) {
		a.credit.Add(int64(batch))
		return true
	}
	return a.group.frames.AllowN(now, n)
}

func (a *Account) spend(n int64) bool {
	for {
		credit := a.credit.Load()
		if credit < n {
			return false
		}
		if a.credit.CompareAndSwap(credit, credit-n) {
			return true
		}
	}
}

// refund gives n tokens back. A limiter that is asked for a negative number of
// tokens adds them, up to its burst.
func refund(l *rate.Limiter, now time.Time, n int) { l.AllowN(now, -n) }

// ReserveMemory takes size bytes, from the source's, the group's and all; a
// refusal is a *LimitError, and nothing is taken. As in libp2p's resource
// manager a priority below 255 may use the (1+prio)/256th part of a limit only,
// here of the group's and of all: what is its own a source may use up. It allocates nothing unless it refuses.
func (a *Account) ReserveMemory(size int, prio uint8) error {
	if size < 0 {
		return errNegative
	}
	return a.take(int64(size), prio)
}

// ReleaseMemory gives size bytes back.
func (a *Account) ReleaseMemory(size int) { a.give(int64(size)) }

const wholeLimit = 255 // the priority up to which all of a limit may be used

func (a *Account) take(n int64, prio uint8) error {
	b := a.budget
	l := &b.limits
	if a.source == nil {
		b.all.Add(n)
		return nil
	}
	if !a.source.held.take(n, l.Source.Memory) {
		return &LimitError{a.who, ScopeSource, l.Source.Memory}
	}
	if a.group != nil && !a.group.held.take(n, part(l.Group.Memory, prio)) {
		a.source.held.give(n)
		return &LimitError{a.who, ScopeGroup, l.Group.Memory}
	}
	if !b.all.take(n, part(l.TotalMemory, prio)) {
		a.source.held.give(n)
		if a.group != nil {
			a.group.held.give(n)
		}
		return &LimitError{a.who, ScopeAll, l.TotalMemory}
	}
	return nil
}

// give gives back no more than the source has, so that a fault in the counting
// of one stays its own.
func (a *Account) give(n int64) {
	if a.source != nil {
		n = a.source.held.give(n)
	}
	if a.group != nil {
		a.group.held.give(n)
	}
	a.budget.all.give(n)
}

// part returns the (1+prio)/256th part of a limit.
func part(limit int64, prio uint8) int64 { return limit - limit/256*int64(wholeLimit-prio) }

// Usage returns what the source and its group hold now, through all their
// accounts. For this node itself, and where there is no group, it is zero.
func (a *Account) Usage() (source, group Usage) {
	if a.source != nil {
		source = a.source.held.usage()
	}
	if a.group != nil {
		group = a.group.held.usage()
	}
	return source, group
}
