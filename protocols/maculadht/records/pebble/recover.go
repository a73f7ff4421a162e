package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// ErrNoRoom means that the store has no room on the disk: its own bound is reached, or
// the disk is nearly full. What is removed and what expires still is.
var ErrNoRoom = errors.New("no room on the disk")

// room is how much of the disk is left.
type room struct {
	none      error // why there is none
	unchecked int   // bytes that were written since it was looked at

	compacted time.Time
	stop      context.CancelFunc // ends a compaction
	compact   sync.WaitGroup
}

// wrote counts what was written, and reports whether it is time to look again.
func (r *room) wrote(bytes int) bool {
	r.unchecked += bytes
	return r.unchecked >= batchBytes
}

func (r *room) end() {
	if r.stop != nil {
		r.stop()
	}
	r.compact.Wait()
}

// look sees every second how the disk is doing.
func (c *committer) look() {
	if c.db == nil {
		c.rise()
		return
	}
	c.measure()
	if time.Since(c.written) >= clockEvery {
		c.unsynced = time.Now()
		c.sync()
	}
}

// measure sees what the store takes and what is left of the disk.
func (c *committer) measure() {
	used := int64(c.db.Metrics().DiskSpaceUsage())
	c.disk.Store(used)
	c.room.unchecked = 0
	had := c.room.none
	c.room.none = nil
	if used > c.cfg.maxBytes {
		c.room.none = fmt.Errorf("%w: the store in %s takes %d bytes of the %d that it may", ErrNoRoom, c.dir, used, c.cfg.maxBytes)
		c.compact()
	} else if disk, err := c.cfg.fs.GetDiskUsage(c.dir); err == nil && disk.AvailBytes < uint64(c.cfg.reserve) {
		c.room.none = fmt.Errorf("%w: %d bytes are free where %s is, and %d are left to others; make room", ErrNoRoom, disk.AvailBytes, c.dir, c.cfg.reserve)
	}
	if had == nil && c.room.none != nil {
		c.log().Error("nothing is stored until there is room", "error", c.room.none)
	} else if had != nil && c.room.none == nil {
		c.log().Info("there is room on the disk again", "bytes", used)
	}
	c.fail(c.room.none)
}

// compact has Pebble clear away what is gone, which it does by itself only when more
// is written.
func (c *committer) compact() {
	if time.Since(c.room.compacted) < c.cfg.compactEvery {
		return
	}
	c.room.end() // the one before
	c.room.compacted = time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	c.room.stop = cancel
	db := c.db
	c.room.compact.Go(func() {
		defer cancel()
		if err := db.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
			c.log().Debug("the store was not compacted", "error", err)
		}
	})
}

// fall is for a disk that has failed: its database is given up.
func (c *committer) fall(err error) {
	err = fmt.Errorf("the disk failed under %s, which is tried again every second: %w", c.dir, err)
	c.fail(err)
	c.failedAt = time.Now()
	c.cfg.tracer.Failed(err)
	c.log().Error("nothing is stored until the disk works again", "error", err)
	c.db.fence.fail(err)
	c.room.end()
	c.room.none = nil
	c.using.Lock()
	db := c.db
	c.db = nil
	c.using.Unlock()
	db.abandon(c.log())
}

// rise opens the database again, and writes what the disk may have missed.
func (c *committer) rise() {
	db, err := c.reopen()
	if err != nil {
		err = fmt.Errorf("the disk failed under %s, which is tried again every second: %w", c.dir, err)
		c.fail(err)
		c.log().Debug("the disk still fails", "error", err)
		return
	}
	c.using.Lock()
	c.db = db
	c.using.Unlock()
	clear(c.dirty)
	clear(c.dirtyState)
	c.unsynced = time.Time{}
	c.fail(nil)
	took := time.Since(c.failedAt)
	c.cfg.tracer.Recovered(took)
	c.log().Info("the disk works again, and what is stored is kept", "after", took.Round(time.Millisecond))
	c.measure()
}

func (c *committer) reopen() (*database, error) {
	// The directory may be another one by now, or none where its disk is not mounted.
	l, err := readLabel(c.cfg.fs, c.dir, ownerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, corrupt(c.dir, err)
	} else if err != nil {
		return nil, err
	}
	if l != c.label {
		return nil, fmt.Errorf("%w: %s holds another store than before", ErrForeign, c.dir)
	}
	db, err := openDatabase(c.cfg.fs, c.dir, c.lock, false, c.log())
	if err != nil {
		return nil, err
	}
	b := db.NewBatch()
	defer b.Close()
	if err = c.restore(b, c.dirty, c.dirtyState); err == nil {
		if err = b.Set(clockKey, c.clock.read().append(nil), nil); err == nil {
			err = db.commit(b, true)
		}
	}
	if err != nil {
		db.abandon(c.log())
		return nil, err
	}
	return db, nil
}
