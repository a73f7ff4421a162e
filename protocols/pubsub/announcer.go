package pubsub

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

const (
	announcers   = 4               // how many records are told or withdrawn at a time
	announceTime = 5 * time.Second // how long one may take
	againAfter   = 2 * time.Second // what failed is tried again
	withdrawTime = 2 * time.Second // for all records to be withdrawn at the end
)

// announcer tells the network under which names somebody here has subscribed, in this
// node's own name, while somebody has.
type announcer struct {
	topics *Topics
	pace   *rate.Limiter
	wake   chan struct{}

	mu       sync.Mutex
	closed   bool
	names    map[string]*announced
	bySource map[string]int
	todo     []*announced
}

// announced is a name; all of it but name and told is guarded by announcer.mu.
type announced struct {
	name string
	told chan struct{} // closed once another node has the record

	wants   map[string]int // subscriptions by who pays
	users   int
	queued  bool
	working bool
	record  *maculadht.Advertisement // nil where there is none
	gone    chan struct{}            // closed once that is withdrawn
}

// wanted is that of one source.
type wanted struct {
	*announced
	source string
}

func (t *Topics) newAnnouncer() *announcer {
	l := t.cfg.limits
	a := &announcer{
		topics: t, pace: rate.NewLimiter(rate.Limit(l.NamesRate), l.NamesBurst), wake: make(chan struct{}, 1),
		names: make(map[string]*announced), bySource: make(map[string]int),
	}
	for range announcers {
		t.tasks.Go(a.run)
	}
	return a
}

func (a *announcer) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.names)
}

// want has it told that somebody has subscribed under a name. It returns nil where there
// are too many names for that.
func (a *announcer) want(name, source string) *wanted {
	l := &a.topics.cfg.limits
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.names[name]
	switch {
	case a.closed:
		return nil
	case n == nil && len(a.names) >= l.Names, (n == nil || n.wants[source] == 0) && source != "" && a.bySource[source] >= l.NamesPerSource:
		a.topics.count.untold.Add(1)
		return nil
	case n == nil:
		n = &announced{name: name, told: make(chan struct{}), wants: make(map[string]int)}
		a.names[name] = n
	}
	if n.wants[source]++; n.wants[source] == 1 {
		a.bySource[source]++
	}
	if n.users++; n.users == 1 {
		a.enqueue(n)
	}
	return &wanted{n, source}
}

// unwant ends what want began.
func (a *announcer) unwant(w *wanted) {
	if w == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := w.announced
	if n.wants[w.source]--; n.wants[w.source] == 0 {
		delete(n.wants, w.source)
		if a.bySource[w.source]--; a.bySource[w.source] == 0 {
			delete(a.bySource, w.source)
		}
	}
	if n.users--; n.users == 0 {
		a.enqueue(n)
	}
}

// enqueue has a name looked at by a worker; a.mu is held.
func (a *announcer) enqueue(n *announced) {
	if n.queued || a.closed {
		return
	}
	n.queued = true
	a.todo = append(a.todo, n)
	wakeUp(a.wake)
}

// next returns a name to be looked at.
func (a *announcer) next() *announced {
	for {
		a.mu.Lock()
		for len(a.todo) > 0 {
			n := a.todo[0]
			a.todo = a.todo[1:]
			n.queued = false
			if n.working { // who works on it looks again
				continue
			}
			n.working = true
			if len(a.todo) > 0 {
				wakeUp(a.wake)
			}
			a.mu.Unlock()
			return n
		}
		a.mu.Unlock()
		select {
		case <-a.wake:
		case <-a.topics.ctx.Done():
			return nil
		}
	}
}

func (a *announcer) run() {
	for n := a.next(); n != nil; n = a.next() {
		for a.settle(n) {
		}
	}
}

// settle does the next that there is to do for a name, and reports whether there may be
// more.
func (a *announcer) settle(n *announced) (more bool) {
	t := a.topics
	a.mu.Lock()
	wanted, record := n.users > 0, n.record
	if wanted == (record != nil) || t.ctx.Err() != nil {
		if !wanted && record == nil {
			delete(a.names, n.name)
		}
		n.working = false
		a.mu.Unlock()
		return false
	}
	a.mu.Unlock()
	if a.pace.Wait(t.ctx) != nil {
		return true // which ends it
	}
	if !wanted {
		a.setRecord(n, nil)
		if err := record.Withdraw(); err != nil && !errors.Is(err, proto.ErrClosed) {
			t.log.Debug("the record of a subscription could not be withdrawn", "name", n.name, "err", err)
		}
		return true
	}
	ctx, cancel := context.WithTimeout(t.ctx, announceTime)
	record, err := t.service.AdvertiseSubscription(ctx, n.name)
	cancel()
	if err == nil {
		gone := a.setRecord(n, record)
		t.tasks.Go(func() { a.awaitTold(n, record, gone) })
		return true
	}
	if t.ctx.Err() == nil {
		t.log.Info("others are not told of a subscription, which is tried again", "name", n.name, "err", err)
	}
	select {
	case <-time.After(againAfter):
	case <-t.ctx.Done():
	}
	return true
}

// setRecord notes the record of a name, and returns what is closed when it is gone.
func (a *announcer) setRecord(n *announced, record *maculadht.Advertisement) (gone <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n.record = record; record == nil {
		close(n.gone)
		return n.gone
	}
	n.gone = make(chan struct{})
	return n.gone
}

// awaitTold notes when another node has a record.
func (a *announcer) awaitTold(n *announced, record *maculadht.Advertisement, gone <-chan struct{}) {
	select {
	case <-record.Published():
	case <-gone:
		return
	case <-a.topics.ctx.Done():
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-n.told:
	default:
		close(n.told)
	}
}

// close withdraws all records, for withdrawTime at most: what is not withdrawn then ends
// with the service.
func (a *announcer) close() {
	a.mu.Lock()
	a.closed = true
	var records []*maculadht.Advertisement
	for _, n := range a.names {
		if n.record != nil {
			records = append(records, n.record)
		}
	}
	a.mu.Unlock()
	left := make(chan *maculadht.Advertisement, len(records))
	for _, r := range records {
		left <- r
	}
	close(left)
	var withdrawing sync.WaitGroup
	for range min(len(records), 32) {
		withdrawing.Go(func() {
			for r := range left {
				_ = r.Withdraw() // it lives until its ttl is over where that failed
			}
		})
	}
	done := make(chan struct{})
	go func() { withdrawing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(withdrawTime):
	}
}
