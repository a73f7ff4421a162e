package pebble

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

const (
	// batchBytes is what one batch takes before it is committed, be there more to write.
	batchBytes = 1 << 20
	// syncWithin is how long what need not be synced waits for it at most, so that with
	// the sync itself it is durable within 100 ms.
	syncWithin = 50 * time.Millisecond
	// clockEvery is how often the clock is written where nothing else is.
	clockEvery = time.Minute
)

// committer is the goroutine that writes. What is pending is decided and not yet on
// the disk: later updates see it, readers do not.
type committer struct {
	*Store
	lists   map[string][]records.Record // pending
	values  map[string][]byte           // of the state, pending; nil is gone
	waiting []update                    // for the commit
	entry   []byte

	// What the disk may have otherwise than the memory since the last sync.
	dirty, dirtyState map[string]struct{}
	unsynced          time.Time // since when there is anything to sync; zero is never
	written           time.Time // when the clock was, last

	syncing  *time.Timer
	failedAt time.Time
	room     room
}

func (c *committer) init(s *Store) {
	c.Store = s
	c.lists, c.values = make(map[string][]records.Record), make(map[string][]byte)
	c.dirty, c.dirtyState = make(map[string]struct{}), make(map[string]struct{})
	c.written = time.Now()
	c.syncing = time.NewTimer(time.Hour)
	c.syncing.Stop()
}

// run writes until the queue is closed and empty.
func (c *committer) run() {
	defer close(c.finished)
	ticker := time.NewTicker(c.cfg.tick)
	defer ticker.Stop()
	defer c.syncing.Stop()
	for {
		var failed chan struct{}
		if c.db != nil {
			failed = c.db.fence.failed
		}
		select {
		case u, open := <-c.queue:
			if !open {
				c.end()
				return
			}
			c.write(u)
		case <-failed:
			c.fall(c.db.fence.Err())
		case <-c.syncing.C:
			c.sync()
		case <-ticker.C:
			c.look()
		}
	}
}

// write takes an update and those that have come behind it, and writes them in one
// batch.
func (c *committer) write(u update) {
	if c.db == nil {
		u.done(c.Failing())
		return
	}
	b := c.db.NewBatch()
	defer b.Close()
	for more := true; more; {
		if err := c.add(b, u); err != nil {
			u.done(err)
		} else {
			c.waiting = append(c.waiting, u)
		}
		if len(c.waiting) >= queued || b.Len() >= batchBytes {
			break
		}
		select {
		case u, more = <-c.queue: // a queue that was closed is seen by run
		default:
			more = false
		}
	}
	c.commit(b)
}

// add decides an update, and adds what it writes to a batch.
func (c *committer) add(b *pebble.Batch, u update) error {
	if u.change == nil {
		return c.addState(b, u)
	}
	old, pending := c.lists[string(u.key)]
	if !pending {
		var err error
		if old, err = c.Get(context.Background(), u.key); err != nil {
			return err
		}
	}
	next := u.change(old)
	if isSame(old, next) {
		return nil
	}
	w := placed(old, next)
	if len(w.write) > 0 && c.room.none != nil {
		c.cfg.tracer.Refused()
		return c.room.none
	}
	for _, place := range w.removed {
		c.entry = appendRecordKey(c.entry[:0], u.key, place)
		if err := b.Delete(c.entry, nil); err != nil {
			return err
		}
	}
	for _, i := range w.write {
		var err error
		if c.entry, err = c.set(b, c.entry, u.key, &w.list[i]); err != nil {
			return err
		}
	}
	c.lists[string(u.key)] = w.list
	return nil
}

func (c *committer) addState(b *pebble.Batch, u update) error {
	if u.value != nil && c.room.none != nil {
		c.cfg.tracer.Refused()
		return c.room.none
	}
	if err := setState(b, u.key, u.value, u.value != nil); err != nil {
		return err
	}
	c.values[string(u.key)] = u.value
	return nil
}

// commit writes a batch, and ends the updates that wait for it.
func (c *committer) commit(b *pebble.Batch) {
	synced := !c.unsynced.IsZero() && time.Since(c.unsynced) >= syncWithin
	for i := range c.waiting {
		synced = synced || c.waiting[i].d == records.Synced
	}
	var err error
	if !b.Empty() || synced && !c.unsynced.IsZero() {
		err = c.put(b, synced)
	}
	if err == nil {
		for key, list := range c.lists {
			keep(c.Store.Store, []byte(key), list)
		}
		for key, value := range c.values {
			c.state.set(key, value)
		}
	}
	c.settle(err, synced)
	for i := range c.waiting {
		c.waiting[i].done(err)
	}
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	if err != nil {
		c.fall(err)
	}
}

// put commits a batch with the clock.
func (c *committer) put(b *pebble.Batch, synced bool) error {
	began := time.Now()
	if err := b.Set(clockKey, c.clock.read().append(c.entry[:0]), nil); err != nil {
		return err
	}
	size := b.Len()
	if err := c.db.commit(b, synced); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c.written = began
	c.cfg.tracer.Committed(len(c.waiting), size, synced, time.Since(began))
	if c.room.wrote(size) {
		c.measure()
	}
	return nil
}

// settle notes what the disk may have otherwise than the memory, and forgets what is
// pending.
func (c *committer) settle(err error, synced bool) {
	if err == nil && synced {
		clear(c.dirty)
		clear(c.dirtyState)
		c.unsynced = time.Time{}
		c.syncing.Stop()
	} else if len(c.lists)+len(c.values) > 0 {
		for key := range c.lists {
			c.dirty[key] = struct{}{}
		}
		for key := range c.values {
			c.dirtyState[key] = struct{}{}
		}
		if c.unsynced.IsZero() {
			c.unsynced = time.Now()
			c.syncing.Reset(syncWithin)
		}
	}
	clear(c.lists)
	clear(c.values)
}

// sync has the disk keep what was written without.
func (c *committer) sync() {
	if c.db == nil || c.unsynced.IsZero() {
		return
	}
	b := c.db.NewBatch()
	defer b.Close()
	err := c.put(b, true)
	c.settle(err, true)
	if err != nil {
		c.fall(err)
	}
}

// end syncs what there is, with the clock as it is.
func (c *committer) end() {
	if c.db != nil {
		c.unsynced = time.Now()
		c.sync()
	}
	c.room.end()
}
