package rpc

import (
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// task is a call that is under way, and is answered once.
type task struct {
	procedure string
	args      payload.Payload
	target    []byte     // the node that is to answer; nil for whoever serves the procedure
	from      []byte     // the node that calls, as it says
	payer     fair.Payer // this process where it is zero
	local     bool       // not to be passed on to another node
	until     time.Time
	// answer is called once, without locks, by whoever knows what came of it.
	answer func(outcome.Outcome)

	// Of whoever has it asked: how many nodes were, who is next where the last one does not
	// serve the procedure, and what that one said.
	asked   int
	others  []maculadht.Provider
	refusal outcome.Outcome

	// Guarded by Calls.mu.
	begun   bool
	place   *fair.Item[*task] // among the calls under way
	started time.Time
	over    bool
	timer   *time.Timer
	forget  func() // takes it from where its answer is awaited; called without locks
}

// begin has a call done, which answers it at once or later.
func (c *Calls) begin(t *task) {
	if why := c.admit(t); why != nil {
		t.answer(outcome.Of(why))
		return
	}
	c.dispatch(t)
}

// admit counts a call among those under way, and has it answered when its time is over.
// Where there are too many who calls most has one give way.
func (c *Calls) admit(t *task) *wire.CallError {
	c.mu.Lock()
	source := t.payer.Source
	switch {
	case c.closed:
		c.mu.Unlock()
		return outcome.Closing
	case !source.IsOwn() && c.underWay[source.Name] >= c.cfg.limits.PerCaller:
		c.mu.Unlock()
		c.refused(RefusedCaller)
		return outcome.Busy
	}
	t.place = c.pending.Add(t.payer, t, 1)
	gaveWay := c.pending.GiveWay(t.place, false)
	if gaveWay == t.place {
		c.mu.Unlock()
		c.refused(RefusedAll)
		return outcome.Busy
	}
	c.underWay[source.Name]++
	t.begun, t.started = true, time.Now()
	t.timer = time.AfterFunc(time.Until(t.until), func() { c.finish(t, outcome.Of(outcome.Late)) })
	c.mu.Unlock()
	c.count.calls.Add(1)
	if gaveWay != nil && c.finish(gaveWay.Value, outcome.Of(outcome.GaveWay)) {
		c.refused(RefusedAll)
	}
	return nil
}

// giveWay ends a call that waits for who is to answer it, as too many do.
func (c *Calls) giveWay(t *task) {
	if c.finish(t, outcome.Of(outcome.GaveWay)) {
		c.refused(RefusedProvider)
	}
}

// refused counts a call that is answered busy.
func (c *Calls) refused(why Refusal) {
	switch why {
	case RefusedCaller:
		c.count.busyCaller.Add(1)
	case RefusedAll:
		c.count.busyAll.Add(1)
	case RefusedProvider:
		c.count.busyProvider.Add(1)
	}
	c.cfg.tracer.CallRefused(why)
}

// finish answers a call, unless it is answered. It reports whether it did.
func (c *Calls) finish(t *task, o outcome.Outcome) bool {
	c.mu.Lock()
	if t.over || !t.begun {
		c.mu.Unlock()
		return false
	}
	t.over = true
	t.timer.Stop()
	forget := t.forget
	c.pending.Leave(t.place)
	name := t.payer.Source.Name
	if c.underWay[name]--; c.underWay[name] == 0 {
		delete(c.underWay, name)
	}
	c.mu.Unlock()
	if forget != nil {
		forget()
	}
	result := ResultFailed
	switch o.Err {
	case nil:
		result = ResultAnswered
		c.count.answered.Add(1)
	case outcome.Late:
		result = ResultLate
		c.count.late.Add(1)
	default:
		c.count.failed.Add(1)
	}
	c.cfg.tracer.CallDone(result, time.Since(t.started))
	t.answer(o)
	return true
}

// awaits notes how a call is taken from where its answer is awaited, in place of what
// was noted before. It reports false where the call is over.
func (c *Calls) awaits(t *task, forget func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.over {
		t.forget = forget
	}
	return !t.over
}

// leaves takes a call from where its answer was awaited. It reports false where the call is
// over.
func (c *Calls) leaves(t *task) bool {
	c.mu.Lock()
	over, forget := t.over, t.forget
	t.forget = nil // of one that is over finish has it
	c.mu.Unlock()
	if !over && forget != nil {
		forget()
	}
	return !over
}
