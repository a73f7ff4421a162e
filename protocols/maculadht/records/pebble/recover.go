package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/entries"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/room"
)

// ErrNoRoom means that the store has no room on the disk: its own bound is reached, or
// the disk is nearly full. What is removed and what expires still is.
var ErrNoRoom = room.ErrNone

// ErrBound is the [ErrNoRoom] of a store that has reached its own bound ([WithMaxBytes]).
var ErrBound = room.ErrBound

// space is how much of the disk is left.
type space struct {
	none      error // why there is none
	unchecked int   // bytes that were written since it was looked at
	tidier    room.Tidier
}

// wrote counts what was written, and reports whether it is time to look again.
func (s *space) wrote(bytes int) bool {
	s.unchecked += bytes
	return s.unchecked >= batchBytes
}

// look has the worker see how the disk is doing, as every second, and has the clock
// written where that is due.
func (c *committer) look() {
	if time.Since(c.written) >= clockEvery || c.clock.Moved(c.reading) {
		c.unsynced, c.mustSync = time.Now(), true
	}
	db := c.db
	c.do(func() func() {
		s := c.measure(db)
		return func() {
			if c.db == db {
				c.measured(s)
			}
		}
	})
}

func (c *committer) measure(db *database.DB) room.Space {
	db.Note()
	return room.Measure(db, c.cfg.fs, c.dir)
}

// measured decides whether there is room, and has what is gone cleared away.
func (c *committer) measured(s room.Space) {
	c.disk.Store(s.Used)
	c.room.unchecked = 0
	had := c.room.none
	c.room.none = room.Bounds{Dir: c.dir, Max: c.cfg.maxBytes, Reserve: c.cfg.reserve}.Check(s)
	if had == nil && c.room.none != nil {
		c.full.Begin(c.room.none)
	} else if had != nil && c.room.none == nil {
		c.full.End("bytes", s.Used)
	}
	c.fail(c.room.none)
	every := c.cfg.tidyEvery
	if c.room.none != nil {
		every = c.cfg.compactEvery
	}
	c.room.tidier.Tidy(c.db, c.memory, c.room.none != nil, every, func(err error) {
		c.log().Debug("the store was not compacted", "error", err)
	})
}

// hang is for a disk that does not answer: it is as one that has failed, and what was
// refused is written over when it answers.
func (c *committer) hang() {
	if c.db != nil {
		c.fall(fmt.Errorf("the disk has not answered for %v: nothing is stored in %s until it does", c.cfg.answerWithin, c.dir))
	}
}

func (c *committer) failed(err error) error {
	return fmt.Errorf("the disk failed under %s, which is tried again every second: %w", c.dir, err)
}

// fall is for a disk that has failed: its database is given up, and what waits is refused.
func (c *committer) fall(err error) {
	c.fail(err)
	c.failedAt = time.Now()
	c.cfg.tracer.Failed(err)
	c.broken.Begin(err)
	c.room.tidier.Stop()
	c.room.none = nil
	c.old = c.detach()
	c.old.Fence.Fail(err)
	c.mustSync = false
	c.late.Stop()
	c.refuse(err)
}

// detach takes the database from whoever would begin to use it.
func (c *committer) detach() *database.DB {
	c.using.Lock()
	defer c.using.Unlock()
	db := c.db
	c.db = nil
	return db
}

// abandon has a database whose fence is up end without anybody waiting for it.
func (s *Store) abandon(db *database.DB) {
	s.abandoned.Go(func() { db.Discard(s.log()) })
}

// rise has the worker open the database again, and write what the disk may have missed.
// What an earlier opening had under way has come to its end before: it must not come
// after what the next one does.
func (c *committer) rise() {
	old := c.old
	c.old = nil
	c.worker.do(func() func() {
		if old != nil {
			<-old.Fence.Ended
			c.abandon(old)
		}
		var err error
		c.opened, err = c.reopen()
		return func() { c.risen(err) }
	})
}

func (c *committer) risen(err error) {
	if err != nil {
		c.fail(c.failed(err))
		c.log().Debug("the disk still fails", "error", err)
		return
	}
	c.using.Lock()
	c.db, c.opened = c.opened, nil
	c.using.Unlock()
	clear(c.dirty)
	clear(c.dirtyState)
	c.unsynced = time.Time{}
	c.mustLook = true
	c.fail(nil)
	took := time.Since(c.failedAt)
	c.cfg.tracer.Recovered(took)
	c.broken.End("after", took.Round(time.Millisecond))
}

// reopen is called by the worker, while the committer changes nothing.
func (c *committer) reopen() (*database.DB, error) {
	// The directory may be another one by now, or none where its disk is not mounted.
	l, err := label.Read(c.cfg.fs, c.dir, label.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, label.Corrupt(c.dir, err)
	} else if err != nil {
		return nil, err
	}
	if l != c.label {
		return nil, fmt.Errorf("%w: %s holds another store than before", ErrForeign, c.dir)
	}
	db, err := database.Open(c.cfg.fs, c.dir, false, c.cfg.maxBytes, c.log())
	if err != nil {
		return nil, err
	}
	b := db.NewBatch()
	defer b.Close()
	if err = c.restoreLost(db); err == nil {
		err = c.restore(b, c.dirty, c.dirtyState)
	}
	if err == nil {
		if err = entries.SetClock(b, c.clock.Read()); err == nil {
			err = db.Commit(b, true)
		}
	}
	if err != nil {
		db.Fence.Fail(err)
		<-db.Fence.Ended
		c.abandon(db)
		return nil, err
	}
	return db, nil
}

// restoreLost writes all that the memory holds where the disk lacks what it had synced, as
// when files of the store were taken away: the clock was among the last of that.
func (c *committer) restoreLost(db *database.DB) error {
	last, there, err := entries.LastReading(db)
	if err != nil || there && last.Store >= c.synced.Store {
		return err
	}
	c.log().Warn("the disk lacks what it had kept before: all is written anew", "dir", c.dir)
	for cursor := records.Cursor(""); ; {
		keys, next, err := c.memory.Keys(context.Background(), nil, cursor, restorePage)
		if err != nil {
			return err
		}
		page := make(map[string]struct{}, len(keys))
		for _, key := range keys {
			page[string(key)] = struct{}{}
		}
		if err := c.restoreAlone(db, page, nil); err != nil {
			return err
		}
		if cursor = next; next == "" {
			break
		}
	}
	return c.restoreAlone(db, nil, c.state.keys())
}

// restorePage is how many keys are written at a time.
const restorePage = 128

// restoreAlone is restore with a batch of its own, which what follows has synced.
func (c *committer) restoreAlone(db *database.DB, keys, stateKeys map[string]struct{}) error {
	b := db.NewBatch()
	defer b.Close()
	if err := c.restore(b, keys, stateKeys); err != nil {
		return err
	}
	return db.Commit(b, false)
}
