// Package announce tells the network under which names somebody here has subscribed, in
// this node's own name, while somebody has.
package announce

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

const (
	announcers   = 4                       // how many records are told or withdrawn at a time
	announceTime = 5 * time.Second         // how long one may take
	againAfter   = 2 * time.Second         // what failed is tried again
	withdrawTime = 1500 * time.Millisecond // for all records to be withdrawn at the end
	withdrawers  = 32                      // how many at a time then
)

// Config is what an Announcer works with.
type Config struct {
	// Advertise puts the record of a name into the network.
	Advertise func(ctx context.Context, name string) (*maculadht.Advertisement, error)
	// Names and NamesPerSource are how many are told, in all and for one source; Rate how
	// many a second are told anew or withdrawn, after Burst at once.
	Names, NamesPerSource, Rate, Burst int
	Log                                *slog.Logger
}

// Announcer keeps the records of names as long as somebody wants them. It is safe for
// concurrent use.
type Announcer struct {
	cfg  Config
	pace *rate.Limiter
	wake chan struct{} // has a token when there is something to do

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	names    map[string]*announced
	bySource map[string]int
	todo     []*announced
}

// announced is a name; all of it but name and told is guarded by Announcer.mu.
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

// Wanted is a name that somebody wants to be told.
type Wanted struct {
	announced *announced
	source    string
}

// Told is closed once another node has the record.
func (w *Wanted) Told() <-chan struct{} { return w.announced.told }

// New returns an announcer of nothing yet. Close it.
func New(cfg Config) *Announcer {
	a := &Announcer{
		cfg: cfg, pace: rate.NewLimiter(rate.Limit(cfg.Rate), cfg.Burst), wake: make(chan struct{}, 1),
		names: make(map[string]*announced), bySource: make(map[string]int),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	for range announcers {
		a.tasks.Go(a.run)
	}
	return a
}

// Len returns how many names are told, or being withdrawn.
func (a *Announcer) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.names)
}

// Want has it told that somebody has subscribed under a name, until Unwant. It returns
// false where there are too many names for that, of the source that pays, which is empty
// for this program, or in all.
func (a *Announcer) Want(name, source string) (w *Wanted, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.names[name]
	switch {
	case a.closed,
		n == nil && len(a.names) >= a.cfg.Names,
		(n == nil || n.wants[source] == 0) && source != "" && a.bySource[source] >= a.cfg.NamesPerSource:
		return nil, false
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
	return &Wanted{n, source}, true
}

// Unwant ends what Want began; nil is nothing.
func (a *Announcer) Unwant(w *Wanted) {
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
func (a *Announcer) enqueue(n *announced) {
	if n.queued || a.closed {
		return
	}
	n.queued = true
	a.todo = append(a.todo, n)
	wakeUp(a.wake)
}

// next returns a name to be looked at.
func (a *Announcer) next() *announced {
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
		case <-a.ctx.Done():
			return nil
		}
	}
}

func (a *Announcer) run() {
	for n := a.next(); n != nil; n = a.next() {
		for a.settle(n) {
		}
	}
}

// settle does the next that there is to do for a name, and reports whether there may be
// more.
func (a *Announcer) settle(n *announced) (more bool) {
	a.mu.Lock()
	wanted, record := n.users > 0, n.record
	if wanted == (record != nil) || a.ctx.Err() != nil {
		if !wanted && record == nil {
			delete(a.names, n.name)
		}
		n.working = false
		a.mu.Unlock()
		return false
	}
	a.mu.Unlock()
	if a.pace.Wait(a.ctx) != nil {
		return true // which ends it
	}
	if !wanted {
		a.setRecord(n, nil)
		if err := record.WithdrawWhile(a.ctx); err != nil && !errors.Is(err, proto.ErrClosed) {
			a.cfg.Log.Debug("the record of a subscription could not be withdrawn", "name", n.name, "err", err)
		}
		return true
	}
	ctx, cancel := context.WithTimeout(a.ctx, announceTime)
	record, err := a.cfg.Advertise(ctx, n.name)
	cancel()
	if err == nil {
		gone := a.setRecord(n, record)
		a.tasks.Go(func() { a.awaitTold(n, record, gone) })
		return true
	}
	if a.ctx.Err() == nil {
		a.cfg.Log.Info("others are not told of a subscription, which is tried again", "name", n.name, "err", err)
	}
	select {
	case <-time.After(againAfter):
	case <-a.ctx.Done():
	}
	return true
}

// setRecord notes the record of a name, and returns what is closed when it is gone.
func (a *Announcer) setRecord(n *announced, record *maculadht.Advertisement) (gone <-chan struct{}) {
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
func (a *Announcer) awaitTold(n *announced, record *maculadht.Advertisement, gone <-chan struct{}) {
	select {
	case <-record.Published():
	case <-gone:
		return
	case <-a.ctx.Done():
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

// Close withdraws all records, for 1.5 s at most: who was not told by then finds them until
// their ttl is over. Nothing is told any more.
func (a *Announcer) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.tasks.Wait()
	left := make(chan *maculadht.Advertisement, len(a.names))
	for _, n := range a.names { // which nobody changes any more
		if n.record != nil {
			left <- n.record
		}
	}
	close(left)
	ctx, cancel := context.WithTimeout(context.Background(), withdrawTime)
	defer cancel()
	var withdrawing sync.WaitGroup
	for range min(len(left), withdrawers) {
		withdrawing.Go(func() {
			for r := range left {
				_ = r.WithdrawWhile(ctx) // it lives until its ttl is over where that failed
			}
		})
	}
	withdrawing.Wait()
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
