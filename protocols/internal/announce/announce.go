// Package announce keeps records in the network, in this node's own name, as long as
// somebody here wants them: that it has subscribed under a name, or serves a procedure.
package announce

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

const (
	announcers   = 4                       // how many records are told or withdrawn at a time
	announceTime = 5 * time.Second         // how long one may take
	againAfter   = 2 * time.Second         // what failed is tried again, and again after ever longer
	againAtLast  = 2 * time.Minute         // up to that
	withdrawTime = 1500 * time.Millisecond // for all records to be withdrawn at the end
	withdrawers  = 32                      // how many at a time then
)

// Config is what an Announcer works with.
type Config struct {
	// Advertise puts the record of a name into the network.
	Advertise func(ctx context.Context, name string) (*maculadht.Advertisement, error)
	// Names is how many are told: of more who wants most has some give way, which are told
	// when there is room again. NamesPerSource is how many a source may want, but for this
	// program. Rate is how many a second are told anew or withdrawn, after Burst at once.
	Names, NamesPerSource, Rate, Burst int
	Log                                *slog.Logger
}

// Announcer keeps the records of names as long as somebody wants them. It is safe for
// concurrent use.
type Announcer struct {
	cfg  Config
	pace *rate.Limiter
	line *fair.Line // of names that are told or withdrawn, by who changed what is wanted

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	names    map[string]*announced
	bySource map[string]int
	places   *fair.Commons[*announced]
	unplaced *fair.Queue[*announced] // wanted, but without a place
}

// announced is a name; all of it but name and told is guarded by Announcer.mu.
type announced struct {
	name string
	told chan struct{} // closed once another node has the record

	wants  map[fair.Payer]int
	placed bool                                  // it may be told
	waits  map[fair.Payer]*fair.Item[*announced] // for a place, of each who wants it
	next   *fair.Once                            // a look at it that has not begun; nil for none
	looked bool                                  // one is at work
	record *maculadht.Advertisement              // nil where there is none
	gone   chan struct{}                         // closed once that is withdrawn
	pause  time.Duration                         // after the next failure
	retry  *time.Timer                           // nil where the last one did not fail
}

// Wanted is a name that somebody wants to be told.
type Wanted struct {
	announced *announced
	by        fair.Payer
}

// Told is closed once another node has the record.
func (w *Wanted) Told() <-chan struct{} { return w.announced.told }

// New returns an announcer of nothing yet. Close it.
func New(cfg Config) *Announcer {
	a := &Announcer{
		cfg: cfg, pace: rate.NewLimiter(rate.Limit(cfg.Rate), cfg.Burst), line: fair.NewLine(announcers, math.MaxInt),
		names: make(map[string]*announced), bySource: make(map[string]int),
		places: fair.NewCommons[*announced](cfg.Names), unplaced: fair.New[*announced](math.MaxInt, fair.Unlimited),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Len returns how many names are told, or about to be told or withdrawn.
func (a *Announcer) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.places.Len()
}

// Want has a name told for who pays, until Unwant. It reports false where it is not to be:
// for now, as there are too many and who pays wants most, or, where it returns nil, as
// that one wants NamesPerSource already, or the announcer is closed. It does not wait.
func (a *Announcer) Want(name string, by fair.Payer) (w *Wanted, ok bool) {
	a.mu.Lock()
	n := a.names[name]
	if a.closed || (n == nil || n.wants[by] == 0) && !by.Source.IsOwn() && a.bySource[by.Source.Name] >= a.cfg.NamesPerSource {
		a.mu.Unlock()
		return nil, false
	}
	if n == nil {
		n = &announced{name: name, told: make(chan struct{}), wants: make(map[fair.Payer]int), waits: make(map[fair.Payer]*fair.Item[*announced])}
		a.names[name] = n
	}
	var looks []look
	if n.wants[by]++; n.wants[by] == 1 {
		a.bySource[by.Source.Name]++
		if n.placed || len(n.waits) == 0 {
			looks = a.place(n, by)
		} else {
			n.waits[by] = a.unplaced.Add(by, n, 1)
		}
	}
	ok = n.placed
	a.mu.Unlock()
	a.start(looks)
	return &Wanted{n, by}, ok
}

// place gives a name a place for who wants it, or has it wait for one, and returns what is
// to be looked at for it; a.mu is held.
func (a *Announcer) place(n *announced, by fair.Payer) []look {
	n.placed = true
	looks := []look{a.lookAt(n, by)}
	if gone, gaveWay := a.places.Use(by, n); gaveWay {
		gone.placed = false
		for by := range gone.wants {
			gone.waits[by] = a.unplaced.Add(by, gone, 1)
			looks = append(looks, a.lookAt(gone, by))
		}
	}
	return looks
}

// placeNext gives names that wait the places that are free; a.mu is held.
func (a *Announcer) placeNext() (looks []look) {
	for a.places.Len() < a.cfg.Names && !a.closed {
		n, ok := a.unplaced.Pop()
		if !ok {
			break
		}
		for by, item := range n.waits {
			a.unplaced.Leave(item)
			looks = append(looks, a.place(n, by)...)
		}
		clear(n.waits)
	}
	return looks
}

// Unwant ends what Want began; nil is nothing.
func (a *Announcer) Unwant(w *Wanted) {
	if w == nil {
		return
	}
	a.mu.Lock()
	n := w.announced
	var looks []look
	if n.wants[w.by]--; n.wants[w.by] == 0 {
		delete(n.wants, w.by)
		if a.bySource[w.by.Source.Name]--; a.bySource[w.by.Source.Name] == 0 {
			delete(a.bySource, w.by.Source.Name)
		}
		a.places.Leave(w.by, n)
		if item := n.waits[w.by]; item != nil {
			a.unplaced.Leave(item)
			delete(n.waits, w.by)
		}
		if len(n.wants) == 0 {
			looks = append(looks, a.lookAt(n, w.by))
		}
	}
	a.mu.Unlock()
	a.start(looks)
}

// look is a name that is to be looked at, in the turn of a payer.
type look struct {
	at *fair.Once
	by fair.Payer
}

// start has names looked at, without a.mu, which that takes.
func (a *Announcer) start(looks []look) {
	for _, l := range looks {
		l.at.Want(l.by)
	}
}

// lookAt returns a look at a name: whether what there is of it is what is wanted. a.mu is
// held.
func (a *Announcer) lookAt(n *announced, by fair.Payer) look {
	if n.next == nil {
		n.next = fair.NewOnce(a.line, func(leave func()) {
			if !a.begin(n, leave) {
				leave()
			}
		}, nil)
	}
	return look{n.next, by}
}

// begin has a name settled, and reports false where that is not to be begun.
func (a *Announcer) begin(n *announced, leave func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n.next = nil
	if n.looked || n.retry != nil && len(n.wants) > 0 || a.closed { // who is at work, or is to try again, looks again
		return false
	}
	if n.retry != nil {
		n.retry.Stop()
		n.retry = nil
	}
	n.looked = true
	a.tasks.Go(func() {
		defer leave()
		for a.settle(n) {
		}
	})
	return true
}

// settle does the next that there is to do for a name, and reports whether there may be
// more.
func (a *Announcer) settle(n *announced) (more bool) {
	a.mu.Lock()
	wanted, record := n.placed && len(n.wants) > 0, n.record
	if wanted == (record != nil) || a.ctx.Err() != nil {
		var looks []look
		if record == nil && len(n.wants) == 0 && a.names[n.name] == n {
			delete(a.names, n.name)
			a.places.Remove(n)
			looks = a.placeNext()
		}
		n.looked = false
		a.mu.Unlock()
		a.start(looks)
		return false
	}
	a.mu.Unlock()
	if a.pace.Wait(a.ctx) != nil {
		return true // which ends it
	}
	if !wanted {
		a.setRecord(n, nil)
		if err := record.WithdrawWhile(a.ctx); err != nil && a.ctx.Err() == nil {
			a.cfg.Log.Warn("the record of what nobody here wants any more is not withdrawn, and stands until it ends", "name", n.name, "err", err)
		}
		return true
	}
	ctx, cancel := context.WithTimeout(a.ctx, announceTime)
	record, err := a.cfg.Advertise(ctx, n.name)
	cancel()
	switch {
	case record == nil:
		return a.failed(n, err)
	case err != nil:
		a.cfg.Log.Warn("a record is not told as it should be", "name", n.name, "err", err)
	}
	gone := a.setRecord(n, record)
	a.tasks.Go(func() { a.awaitTold(n, record, gone) })
	return true
}

// failed has what could not be told tried again later, and others have their turn
// meanwhile.
func (a *Announcer) failed(n *announced, err error) (more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(n.wants) == 0 || !n.placed {
		return true // which ends it
	}
	n.pause = min(max(2*n.pause, againAfter), againAtLast)
	a.cfg.Log.Info("others are not told of what is here, which is tried again", "name", n.name, "after", n.pause, "err", err)
	n.looked = false
	n.retry = time.AfterFunc(n.pause, func() { a.again(n) })
	return false
}

// again looks at a name again that could not be told.
func (a *Announcer) again(n *announced) {
	a.mu.Lock()
	n.retry = nil
	by := fair.Payer{}
	for by = range n.wants {
		break
	}
	l := a.lookAt(n, by)
	a.mu.Unlock()
	l.at.Want(l.by)
}

// setRecord notes the record of a name, and returns what is closed when it is gone.
func (a *Announcer) setRecord(n *announced, record *maculadht.Advertisement) (gone <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n.record = record; record == nil {
		close(n.gone)
		return n.gone
	}
	n.pause, n.gone = 0, make(chan struct{})
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

// Close withdraws all records, and more with them, for 1.5 s at most: who was not told by
// then finds them until their ttl is over. Nothing is told any more. The error is that of
// [maculadht.Advertisement.WithdrawWhile].
func (a *Announcer) Close(more ...*maculadht.Advertisement) error {
	a.mu.Lock()
	a.closed = true
	left := more
	for _, n := range a.names {
		if n.retry != nil {
			n.retry.Stop()
		}
	}
	a.mu.Unlock()
	a.cancel()
	a.tasks.Wait()
	for _, n := range a.names { // which nobody changes any more
		if n.record != nil {
			left = append(left, n.record)
		}
	}
	all := make(chan *maculadht.Advertisement, len(left))
	errs := make(chan error, len(left))
	for _, r := range left {
		all <- r
	}
	close(all)
	ctx, cancel := context.WithTimeout(context.Background(), withdrawTime)
	defer cancel()
	var withdrawing sync.WaitGroup
	for range min(len(left), withdrawers) {
		withdrawing.Go(func() {
			for r := range all {
				errs <- r.WithdrawWhile(ctx)
			}
		})
	}
	withdrawing.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}
