package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/entries"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// ErrNoRoom means that the store has no room on the disk: its own bound is reached, or
// the disk is nearly full. What is removed and what expires still is.
var ErrNoRoom = errors.New("no room on the disk")

// room is how much of the disk is left.
type room struct {
	none      error // why there is none
	unchecked int   // bytes that were written since it was looked at

	compacted  time.Time
	compacting atomic.Bool
	cancel     context.CancelFunc // ends a compaction
}

// wrote counts what was written, and reports whether it is time to look again.
func (r *room) wrote(bytes int) bool {
	r.unchecked += bytes
	return r.unchecked >= batchBytes
}

// stop ends a compaction, soon.
func (r *room) stop() {
	if r.cancel != nil {
		r.cancel()
	}
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

// space is what the store takes, and what is left of the disk.
type space struct {
	used  int64
	free  uint64
	known bool // whether free is
}

func (c *committer) measure(db *database.DB) space {
	db.Note()
	s := space{used: int64(db.Metrics().DiskSpaceUsage())}
	if disk, err := c.cfg.fs.GetDiskUsage(c.dir); err == nil {
		s.free, s.known = disk.AvailBytes, true
	}
	return s
}

// measured decides whether there is room.
func (c *committer) measured(s space) {
	c.disk.Store(s.used)
	c.room.unchecked = 0
	had := c.room.none
	c.room.none = nil
	if s.used > c.cfg.maxBytes {
		c.room.none = fmt.Errorf("%w: the store in %s takes %d bytes of the %d that it may", ErrNoRoom, c.dir, s.used, c.cfg.maxBytes)
		c.compact()
	} else if s.known && s.free < uint64(c.cfg.reserve) {
		c.room.none = fmt.Errorf("%w: %d bytes are free where %s is, and %d are left to others; make room", ErrNoRoom, s.free, c.dir, c.cfg.reserve)
	}
	if had == nil && c.room.none != nil {
		c.full.begin(c.room.none)
	} else if had != nil && c.room.none == nil {
		c.full.end("bytes", s.used)
	}
	c.fail(c.room.none)
}

// compact has Pebble clear away what is gone, which it does by itself only when more
// is written.
func (c *committer) compact() {
	if time.Since(c.room.compacted) < c.cfg.compactEvery || !c.room.compacting.CompareAndSwap(false, true) {
		return
	}
	c.room.compacted = time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	c.room.cancel = cancel
	db := c.db
	db.Users.Go(func() {
		defer c.room.compacting.Store(false)
		defer cancel()
		if err := db.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
			c.log().Debug("the store was not compacted", "error", err)
		}
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
	c.broken.begin(err)
	c.room.stop()
	c.room.none = nil
	c.old = c.detach()
	c.old.Fence.Fail(err)
	c.mustSync = false
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
	c.broken.end("after", took.Round(time.Millisecond))
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
	db, err := database.Open(c.cfg.fs, c.dir, false, c.log())
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
