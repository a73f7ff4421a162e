// Package database opens Pebble's database of a store so that nothing it meets there, nor a
// disk that fails, is a panic or a false success.
package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/fence"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/journal"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// What one database takes of the memory beside its records.
const (
	MemTableBytes = 4 << 20 // at most
	cacheBytes    = 4 << 20
)

// memTableBytes returns the size of the tables in memory for files of so many bytes at
// most: logs and what is merged at once are in proportion to it.
func memTableBytes(maxBytes int64) int64 { return min(max(maxBytes/64, 1<<20), MemTableBytes) }

// FinishWithin is how long the end of a database waits for what it does beside: all that
// was stored is synced before.
const FinishWithin = time.Second

// DB is one opening of Pebble.
type DB struct {
	*pebble.DB
	Fence *fence.Fence   // up when the disk has failed
	Users sync.WaitGroup // that Close waits for
	// MemTableBytes is how large the tables in memory are.
	MemTableBytes int64

	noted *journal.Files
}

// Open opens what is in dir, or makes it. Whatever Pebble finds there, it does
// not panic.
func Open(files vfs.FS, dir string, isNew bool, maxBytes int64, log *slog.Logger) (d *DB, err error) {
	noted, err := journal.New(files, dir)
	if err != nil {
		return nil, err
	}
	f := fence.New(noted, dir)
	size := memTableBytes(maxBytes)
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                          f,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		ErrorIfNotExists:            !isNew,
		MemTableSize:                uint64(size),
		LBaseMaxBytes:               max(maxBytes/16, 4*size),
		MemTableStopWritesThreshold: 2,
		L0CompactionThreshold:       int(min(max(maxBytes/(32*size), 2), 8)), // the more wait the less is merged, but they take room
		L0StopWritesThreshold:       64,                                      // who writes does not wait for what is merged
		MaxOpenFiles:                128,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 1 },
		Logger:                      chatter{log, f},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				if !errors.Is(err, pebble.ErrCancelledCompaction) && !errors.Is(err, pebble.ErrClosed) {
					f.Fail(err)
				}
			},
			DataCorruption: func(info pebble.DataCorruptionInfo) { f.Fail(label.Corrupt(dir, errors.New(info.String()))) },
		},
	}
	// With one compaction at a time there is nothing to look for every 100 ms, as the
	// default does in a goroutine that a failed Open leaves behind.
	opts.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	for i := range opts.TargetFileSizes { // larger ones would be more to merge at once
		opts.TargetFileSizes[i] = size / 2
	}
	defer func() {
		if p := recover(); p != nil {
			d, err = nil, label.Corrupt(dir, fmt.Errorf("pebble: %v", p))
		}
		if err != nil { // nothing of it comes later
			f.Fail(err)
			<-f.Ended
		}
	}()
	db, err := pebble.Open(dir, opts)
	if err == nil {
		d = &DB{DB: db, Fence: f, MemTableBytes: size, noted: noted}
		if err = f.Err(); err == nil {
			return d, nil
		}
		d.Discard(log)
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if failed := f.Err(); failed != nil {
		err = failed
	}
	return nil, Unreadable(dir, err)
}

// Unreadable says what an error of opening or reading means: what the system does not say
// is the fault of what is in the files.
func Unreadable(dir string, err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, label.ErrCorrupt):
		return err
	case errors.Is(err, fs.ErrNotExist), !errors.As(err, &system):
		return label.Corrupt(dir, err)
	}
	return fmt.Errorf("read %s: %w", dir, err)
}

// Commit commits a batch. It returns nil only where the disk has taken it.
func (d *DB) Commit(b *pebble.Batch, synced bool) error {
	if err := d.Apply(b, synced); err != nil || !synced {
		return err
	}
	return d.SyncWait(b)
}

// Apply begins to commit a batch: it can be read, and is in the log. Where it is to be
// synced SyncWait follows, in the order of the batches.
func (d *DB) Apply(b *pebble.Batch, synced bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pebble: %v", p)
			d.Fence.Fail(err)
		}
	}()
	if err := d.Fence.Err(); err != nil {
		return err
	}
	if synced {
		return d.ApplyNoSyncWait(b, pebble.Sync) // the batch is in use until SyncWait has returned
	}
	if err := d.DB.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	return d.Fence.Err()
}

// SyncWait waits until a batch that was applied has been synced.
func (d *DB) SyncWait(b *pebble.Batch) error {
	if err := b.SyncWait(); err != nil {
		return err
	}
	return d.Fence.Err()
}

// Note notes how far the logs have been synced, as every second.
func (d *DB) Note() { d.Fence.Try(d.noted.Note) }

// errFinished is the error of a fence that ends what need not be finished.
var errFinished = errors.New("all that was stored is synced")

// Close closes a database when all that was stored is synced.
func (d *DB) Close() error {
	d.Users.Wait()
	late := time.AfterFunc(FinishWithin, func() { d.Fence.Fail(errFinished) })
	defer late.Stop()
	err := d.DB.Close()
	d.Fence.Try(d.noted.NoteForGood)
	if failed := d.Fence.Err(); !errors.Is(failed, errFinished) {
		err = errors.Join(err, failed)
	}
	return err
}

// Discard ends a database whose fence is up: nothing of it reaches the disk any more.
func (d *DB) Discard(log *slog.Logger) {
	defer func() {
		if p := recover(); p != nil {
			log.Debug("pebble panicked while it was closed", "error", p)
		}
	}()
	d.Users.Wait()
	if err := d.DB.Close(); err != nil {
		log.Debug("pebble closed with an error", "error", err)
	}
}

// chatter logs what Pebble says. What Pebble takes for the end of the process is that
// of this opening alone.
type chatter struct {
	log   *slog.Logger
	fence *fence.Fence
}

// Infof implements [pebble.Logger].
func (c chatter) Infof(format string, args ...any) { c.say(format, args) }

// Errorf implements [pebble.Logger].
func (c chatter) Errorf(format string, args ...any) { c.say(format, args) }

// Fatalf implements [pebble.Logger]: the fence is put up.
func (c chatter) Fatalf(format string, args ...any) {
	c.fence.Fail(fmt.Errorf(format, args...))
	c.say(format, args)
}

func (c chatter) say(format string, args []any) {
	if c.log.Enabled(context.Background(), slog.LevelDebug) {
		c.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}
