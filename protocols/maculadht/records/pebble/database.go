package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What one database takes of the memory beside its records.
const (
	memTableBytes = 4 << 20
	cacheBytes    = 4 << 20
)

// finishWithin is how long the end of a database waits for what it does beside: all that
// was stored is synced before.
const finishWithin = time.Second

// database is one opening of Pebble.
type database struct {
	*pebble.DB
	fence *fence
	users sync.WaitGroup // beside the committer; none begins once it is detached
}

// openDatabase opens what is in dir, or makes it. Whatever Pebble finds there, it does
// not panic.
func openDatabase(files vfs.FS, dir string, isNew bool, log *slog.Logger) (d *database, err error) {
	f := newFence(files, dir)
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                          f,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		ErrorIfNotExists:            !isNew,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 2,
		MaxOpenFiles:                128,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 1 },
		Logger:                      chatter{log, f},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				if !errors.Is(err, pebble.ErrCancelledCompaction) && !errors.Is(err, pebble.ErrClosed) {
					f.fail(err)
				}
			},
			DataCorruption: func(info pebble.DataCorruptionInfo) { f.fail(corrupt(dir, errors.New(info.String()))) },
		},
	}
	// With one compaction at a time there is nothing to look for every 100 ms, as the
	// default does in a goroutine that a failed Open leaves behind.
	opts.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	defer func() {
		if p := recover(); p != nil {
			d, err = nil, corrupt(dir, fmt.Errorf("pebble: %v", p))
		}
		if err != nil { // nothing of it comes later
			f.fail(err)
			<-f.ended
		}
	}()
	db, err := pebble.Open(dir, opts)
	if err == nil {
		d = &database{DB: db, fence: f}
		if err = f.Err(); err == nil {
			return d, nil
		}
		d.discard(log)
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if failed := f.Err(); failed != nil {
		err = failed
	}
	return nil, unreadable(dir, err)
}

// unreadable says what an error of opening or reading means.
func unreadable(dir string, err error) error {
	switch {
	case errors.Is(err, ErrCorrupt):
		return err
	case pebble.IsCorruptionError(err), errors.Is(err, pebble.ErrDBDoesNotExist), errors.Is(err, fs.ErrNotExist):
		return corrupt(dir, err)
	}
	return fmt.Errorf("read %s: %w", dir, err)
}

// commit commits a batch. It returns nil only where the disk has taken it.
func (d *database) commit(b *pebble.Batch, synced bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pebble: %v", p)
			d.fence.fail(err)
		}
	}()
	opts := pebble.NoSync
	if synced {
		opts = pebble.Sync
	}
	if err := d.fence.Err(); err != nil {
		return err
	}
	if err := d.Apply(b, opts); err != nil {
		return err
	}
	return d.fence.Err()
}

// errFinished is the error of a fence that ends what need not be finished.
var errFinished = errors.New("all that was stored is synced")

// close closes a database when all that was stored is synced.
func (d *database) close() error {
	d.users.Wait()
	late := time.AfterFunc(finishWithin, func() { d.fence.fail(errFinished) })
	defer late.Stop()
	err := d.Close()
	if failed := d.fence.Err(); !errors.Is(failed, errFinished) {
		err = errors.Join(err, failed)
	}
	return err
}

// discard ends a database whose fence is up: nothing of it reaches the disk any more.
func (d *database) discard(log *slog.Logger) {
	defer func() {
		if p := recover(); p != nil {
			log.Debug("pebble panicked while it was closed", "error", p)
		}
	}()
	d.users.Wait()
	if err := d.Close(); err != nil {
		log.Debug("pebble closed with an error", "error", err)
	}
}

// abandon has a database whose fence is up end without anybody waiting for it.
func (d *database) abandon(s *Store) {
	s.abandoned.Go(func() { d.discard(s.log()) })
}

// chatter logs what Pebble says. What Pebble takes for the end of the process is that
// of this opening alone.
type chatter struct {
	log   *slog.Logger
	fence *fence
}

func (c chatter) Infof(format string, args ...any)  { c.say(format, args) }
func (c chatter) Errorf(format string, args ...any) { c.say(format, args) }

func (c chatter) Fatalf(format string, args ...any) {
	c.fence.fail(fmt.Errorf(format, args...))
	c.say(format, args)
}

func (c chatter) say(format string, args []any) {
	if c.log.Enabled(context.Background(), slog.LevelDebug) {
		c.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}
