package pebble

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/entries"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/notice"
)

const (
	// syncWithin is how long what need not be synced waits for it at most, so that with
	// the sync itself it is durable within 100 ms.
	syncWithin = 50 * time.Millisecond
	// clockEvery is how often the clock is written where nothing else is.
	clockEvery = time.Minute
	// answerWithin is how long the disk may take for anything before it is taken to hang.
	answerWithin = 2 * time.Second
	// closeWithin is how long Close waits for a disk that hangs.
	closeWithin = 3 * time.Second
)

// committer is the goroutine that decides. It gathers the next batch while those before
// are committed: the worker applies one while others are synced.
type committer struct {
	*Store
	worker    *worker
	next      *batch
	flights   []*batch // that are committed, in order; maxFlights at most
	waits     int      // batches that the worker has yet to tell of, with those that were refused
	spare     []*batch
	taken     []update // from the queue, and not yet in a batch
	at        int      // of taken
	isClosing bool     // the queue is closed and was taken
	isEnding  bool     // the last batch has been begun
	entry     []byte

	// What the disk may have otherwise than the memory since the last sync.
	dirty, dirtyState map[string]struct{}
	unsynced          time.Time       // since when there is anything to sync; zero is never
	written           time.Time       // when the clock was, last
	reading           entries.Reading // that was written then
	synced            entries.Reading // the last one that the disk has for sure

	mustSync, mustLook bool // as soon as the worker is not busy
	syncing, late      *time.Timer
	// Since when the worker is busy, and since when the first of the flights is the first.
	jobSince, flightSince time.Time
	old                   *database.DB // one that was given up, and is to be closed
	opened                *database.DB // the worker's: one that the committer has not taken yet
	failedAt              time.Time
	room                  space
	broken, full          notice.Notice
}

func (c *committer) init(s *Store) {
	c.Store, c.worker = s, newWorker()
	c.next = newBatch()
	c.dirty, c.dirtyState = make(map[string]struct{}), make(map[string]struct{})
	c.written, c.reading = time.Now(), s.clock.Read()
	c.synced = s.began
	c.syncing, c.late = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	c.syncing.Stop()
	c.late.Stop()
	c.broken = notice.Notice{Log: s.log(), Begins: "nothing is stored until the disk works again",
		Passes: "the disk works again, and what is stored is kept", Again: "the disk failed again, and works now"}
	c.full = notice.Notice{Log: s.log(), Begins: "nothing is stored until there is room",
		Passes: "there is room on the disk again", Again: "there was no room again, and is now"}
	c.measured(c.measure(c.db))
}

// run writes until the queue is closed and empty, and then closes the database.
func (c *committer) run() {
	defer close(c.finished)
	ticker := time.NewTicker(c.cfg.tick)
	defer ticker.Stop()
	defer c.syncing.Stop()
	defer c.late.Stop()
	var deadline <-chan time.Time
	for {
		var failed, some <-chan struct{}
		if c.db != nil {
			failed = c.db.Fence.Failed
		}
		if c.at == len(c.taken) {
			some = c.queue.some
		}
		select {
		case <-some:
			c.take()
			if c.isClosing && deadline == nil {
				deadline = time.After(c.cfg.closeWithin)
			}
		case then := <-c.worker.done:
			c.worker.busy = false
			c.watch()
			then()
		case s := <-c.worker.synced:
			c.waits--
			c.committed(s.b, time.Since(s.b.began), s.err)
		case <-failed:
			c.fall(c.failed(c.db.Fence.Err()))
		case <-c.late.C:
			if len(c.worker.done)+len(c.worker.synced) == 0 { // else it was not the disk that took its time
				c.hang()
			}
		case <-c.syncing.C:
			c.mustSync = true
		case <-ticker.C:
			c.mustLook = true
			c.broken.Look()
			c.full.Look()
		case <-deadline:
			c.giveUp()
			return
		}
		if c.advance() {
			c.close(deadline)
			return
		}
	}
}

// advance gathers and writes what there is until the worker is busy or nothing can be
// done, and reports whether nothing is left and the store is being closed.
func (c *committer) advance() (finished bool) {
	for {
		c.gather()
		if c.worker.busy {
			return false
		}
		if begun, finished := c.proceed(); finished || !begun {
			return finished
		}
	}
}

// take takes what has queued.
func (c *committer) take() {
	clear(c.taken)
	c.taken, c.isClosing = c.queue.take(c.taken)
	c.at = 0
}

// gather puts what was taken into the next batch, as far as there is room.
func (c *committer) gather() {
	for ; c.at < len(c.taken) && !c.next.isFull(); c.at++ {
		u := c.taken[c.at]
		if c.db == nil {
			u.done(c.Failing())
		} else if err := c.add(c.next, u); err != nil {
			u.done(err)
		} else {
			c.next.waiting = append(c.next.waiting, u)
		}
	}
}

// proceed has the worker, which is not busy, do what is due, and reports whether something
// was, or else whether nothing is left and the store is being closed.
func (c *committer) proceed() (begun, finished bool) {
	switch {
	case c.db == nil && c.isClosing:
		return false, true
	case c.db == nil && c.mustLook:
		c.mustLook = false
		c.rise()
	case c.db == nil:
		return false, false
	case c.mustLook:
		c.mustLook = false
		c.look()
	case len(c.flights) == maxFlights || c.waits == 2*maxFlights:
		return false, false
	case len(c.next.waiting) > 0 || c.mustSync:
		c.commit()
	case c.isClosing && c.isEnding:
		return false, len(c.flights) == 0
	case c.isClosing:
		c.isEnding, c.mustSync = true, true
		c.unsynced = time.Now() // the clock as it is
		c.commit()
	default:
		return false, false
	}
	return true, false
}

// do has the worker do something within answerWithin.
func (c *committer) do(job func() (then func())) {
	c.jobSince = time.Now()
	c.worker.do(job)
	c.watch()
}

// fly has a batch be one of those that are committed.
func (c *committer) fly(b *batch) {
	if len(c.flights) == 0 {
		c.flightSince = time.Now()
	}
	c.flights = append(c.flights, b)
	c.watch()
}

// landed ends the first of those that are committed.
func (c *committer) landed() {
	c.flights = slices.Delete(c.flights, 0, 1)
	c.flightSince = time.Now()
	c.watch()
}

// watch has the disk be late answerWithin after the first thing that it has not answered.
func (c *committer) watch() {
	var since time.Time
	if c.worker.busy {
		since = c.jobSince
	}
	if len(c.flights) > 0 && (since.IsZero() || c.flightSince.Before(since)) {
		since = c.flightSince
	}
	if since.IsZero() {
		c.late.Stop()
	} else {
		c.late.Reset(time.Until(since.Add(c.cfg.answerWithin)))
	}
}

// add decides an update, and adds what it writes to a batch.
func (c *committer) add(b *batch, u update) error {
	if b.write == nil {
		b.write = c.db.NewBatch()
	}
	if u.change == nil {
		return c.addState(b, u)
	}
	old, pending := b.of(u.key)
	for i := len(c.flights) - 1; i >= 0 && !pending; i-- {
		old, pending = c.flights[i].of(u.key)
	}
	if !pending {
		var err error
		if old, err = c.memory.Get(context.Background(), u.key); err != nil {
			return err
		}
	}
	next := u.change(old)
	if entries.IsSame(old, next) {
		return nil
	}
	w := entries.Placed(old, next)
	if len(w.Write) > 0 && c.room.none != nil {
		c.cfg.tracer.Refused()
		return c.room.none
	}
	for _, place := range w.Removed {
		var err error
		if c.entry, err = entries.Remove(b.write, c.entry, u.key, place); err != nil {
			return err
		}
	}
	for _, i := range w.Write {
		var err error
		if c.entry, err = c.set(b.write, c.entry, u.key, &w.List[i]); err != nil {
			return err
		}
	}
	b.set(u.key, w.List)
	return nil
}

func (c *committer) addState(b *batch, u update) error {
	if u.value != nil && c.room.none != nil {
		c.cfg.tracer.Refused()
		return c.room.none
	}
	if err := entries.SetState(b.write, u.key, u.value, u.value != nil); err != nil {
		return err
	}
	b.values[string(u.key)] = u.value
	return nil
}

// commit has the worker, which is not busy, write the next batch.
func (c *committer) commit() {
	b := c.next
	b.db, b.began = c.db, time.Now()
	if b.write == nil {
		b.write = c.db.NewBatch()
	}
	b.synced = c.mustSync || !c.unsynced.IsZero() && time.Since(c.unsynced) >= syncWithin
	for i := range b.waiting {
		b.synced = b.synced || b.waiting[i].d == records.Synced
	}
	c.mustSync = false
	c.next = c.emptyBatch()
	if b.isEmpty() && (!b.synced || c.allSynced()) {
		b.synced = false
		c.follow(b)
		return
	}
	c.reading, c.written = c.clock.Read(), time.Now()
	b.reading = c.reading
	err := entries.SetClock(b.write, c.reading)
	b.size = b.write.Len()
	c.mustLook = c.room.wrote(b.size) || c.mustLook // not once it is synced: others follow before
	c.do(func() func() {
		if err == nil {
			err = b.db.Apply(b.write, b.synced)
		}
		c.worker.sync(b, err)
		return func() {}
	})
	c.fly(b)
	c.waits++
}

// allSynced reports whether all that was written is synced, or will be before what follows.
func (c *committer) allSynced() bool {
	return c.unsynced.IsZero() && !slices.ContainsFunc(c.flights, func(b *batch) bool { return !b.synced && b.size > 0 })
}

// follow ends a batch that has nothing to write, once those before it are committed: what
// was decided on top of them is as true as they are.
func (c *committer) follow(b *batch) {
	c.fly(b)
	if len(c.flights) == 1 {
		c.committed(b, 0, nil)
		return
	}
	c.waits++
	c.worker.sync(b, nil)
}

func (c *committer) emptyBatch() *batch {
	n := len(c.spare)
	if n == 0 {
		return newBatch()
	}
	b := c.spare[n-1]
	c.spare = c.spare[:n-1]
	return b
}

// committed ends the first batch of those that are committed, unless it was refused while
// the disk hung.
func (c *committer) committed(b *batch, took time.Duration, err error) {
	if len(c.flights) == 0 || b != c.flights[0] {
		return
	}
	if err != nil {
		c.fall(c.failed(fmt.Errorf("write: %w", err)))
		return
	}
	if b.size > 0 {
		c.settle(b)
		c.cfg.tracer.Committed(len(b.waiting), b.size, b.synced, took)
	}
	for i := range b.lists {
		keep(c.memory, b.lists[i].key, b.lists[i].recs)
	}
	for key, value := range b.values {
		c.state.set(key, value)
	}
	c.landed()
	b.kept()
	b.reset()
	c.spare = append(c.spare, b)
}

// settle notes what the disk may have otherwise than the memory.
func (c *committer) settle(b *batch) {
	if b.synced {
		c.synced = b.reading
		clear(c.dirty)
		clear(c.dirtyState)
		c.unsynced = time.Time{}
		c.syncing.Stop()
		return
	}
	c.soil(b)
	if c.unsynced.IsZero() {
		c.unsynced = time.Now()
		c.syncing.Reset(syncWithin)
	}
}

func (c *committer) soil(b *batch) {
	for i := range b.lists {
		c.dirty[string(b.lists[i].key)] = struct{}{}
	}
	for key := range b.values {
		c.dirtyState[key] = struct{}{}
	}
}

// refuse ends what is under way with an error. What of it reaches the disk all the same
// is written over when that works again.
func (c *committer) refuse(err error) {
	c.next.refused(err)
	c.next.reset()
	for _, b := range slices.Backward(c.flights) { // the worker may still have it
		c.soil(b)
		b.refused(err)
	}
	c.flights = nil
}

// close closes the database, or leaves that to the worker where it takes too long.
func (c *committer) close(deadline <-chan time.Time) {
	failing := c.Failing()
	fallen := c.db == nil
	c.worker.last(c.ending())
	select {
	case then := <-c.worker.done:
		then()
		if fallen {
			c.closeErr = errors.Join(failing, c.closeErr)
		}
	case <-deadline:
		c.closeErr = c.left()
	}
}

// giveUp ends the committer of a disk that hangs.
func (c *committer) giveUp() {
	err := c.left()
	if c.db != nil {
		c.old = c.detach()
		c.old.Fence.Fail(err)
	}
	c.refuse(err)
	for ; c.at < len(c.taken); c.at++ {
		c.taken[c.at].done(err)
	}
	c.take()
	for _, u := range c.taken {
		u.done(err)
	}
	c.worker.last(c.ending())
	c.closeErr = err
}

// left says what a disk that hangs has not done.
func (c *committer) left() error {
	waiting := len(c.next.waiting) + len(c.taken) - c.at
	for _, b := range c.flights {
		waiting += len(b.waiting)
	}
	return fmt.Errorf("the disk has not answered for %v: %d updates were not written, the last ones of %d keys may not be kept, and the directory stays locked until it answers or the process ends",
		c.cfg.closeWithin, waiting, len(c.dirty)+len(c.dirtyState))
}

// ending closes the databases and the directory.
func (c *committer) ending() func() func() {
	c.room.tidier.Stop()
	c.broken.Flush()
	c.full.Flush()
	db, old := c.detach(), c.old
	return func() func() {
		var errs []error
		if old != nil {
			<-old.Fence.Ended
			c.abandon(old)
		}
		if c.opened != nil { // after Close gave up
			c.opened.Fence.Fail(ErrClosed)
			c.abandon(c.opened)
		}
		if db != nil {
			errs = append(errs, db.Close())
		}
		c.abandoned.Wait()
		errs = append(errs, c.lock.Close(), c.memory.Close())
		err := errors.Join(errs...)
		return func() { c.closeErr = err }
	}
}
