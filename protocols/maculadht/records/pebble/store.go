package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/disk"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/entries"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/journal"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// ErrClosed means that the store has been closed.
var ErrClosed = errors.New("the store is closed")

// Store is a [records.Store] on a disk. Reads come from memory.
type Store struct {
	memory records.Store // all that is stored; written to by the committer alone
	state  state

	cfg   config
	dir   string
	owner Owner
	label label.Label
	id    []byte
	lock  *pebble.Lock
	clock entries.Clock
	began entries.Reading // of it, when the store was opened; synced

	queue    *queue
	commits  committer
	finished chan struct{}
	closeErr error // read after finished
	failing  atomic.Pointer[error]
	disk     atomic.Int64 // what the files take

	using     sync.Mutex     // held while db is replaced
	db        *database.DB   // nil while the disk fails; the committer's, who alone replaces it
	abandoned sync.WaitGroup // databases that come to their end
	copying   context.Context
	close     func() error
}

// update is one that waits for its turn.
type update struct {
	key    []byte
	d      records.Durability
	change func(old []records.Record) []records.Record // nil for one of the state
	value  []byte                                      // of the state; nil takes the key away
	done   func(error)
}

// Open opens the store in dir, which it makes if it is not there or empty, with all
// that was stored and its life that is left. The directory is its user's alone.
//
// What is not this owner's is refused and left as it is: [ErrForeign], [ErrNewer],
// [ErrCorrupt]; [ErrLocked] where it is open already. Close the store.
func Open(dir string, owner Owner, opts ...Option) (*Store, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if _, real := cfg.fs.(disk.Private); real {
		if dir, err = filepath.Abs(dir); err != nil {
			return nil, fmt.Errorf("store of records: %w", err)
		}
	}
	s := &Store{
		memory: records.NewMemoryStore(), cfg: cfg, dir: dir,
		owner: Owner{Realm: owner.Realm, NodeID: bytes.Clone(owner.NodeID)},
		queue: newQueue(), finished: make(chan struct{}),
	}
	s.state.values = make(map[string][]byte)
	copying, endCopies := context.WithCancel(context.Background())
	s.copying = copying
	s.close = sync.OnceValue(func() error { endCopies(); return s.shutdown() })
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("store of records: %w", err)
	}
	s.commits.init(s)
	go s.commits.run()
	return s, nil
}

// open makes or reads the directory.
func (s *Store) open() (err error) {
	if err := disk.MakeDir(s.cfg.fs, s.dir); err != nil {
		return fmt.Errorf("make the directory %s: %w", s.dir, err)
	}
	// Before the lock, which writes: what is another's stays as it is.
	if _, _, err := label.Identify(s.cfg.fs, s.dir, s.owner); err != nil {
		return err
	}
	if s.lock, err = pebble.LockDirectory(s.dir, s.cfg.fs); err != nil {
		return fmt.Errorf("%w: %s: %w; end the process that has it open, or name another directory", ErrLocked, s.dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	var isNew bool
	if s.label, isNew, err = label.Identify(s.cfg.fs, s.dir, s.owner); err != nil {
		return err
	}
	s.id = s.label.StoreID()
	if isNew {
		if err := label.Write(s.cfg.fs, s.dir, label.Making, s.label); err != nil {
			return fmt.Errorf("make the store in %s: %w", s.dir, err)
		}
	} else if err := journal.Check(s.cfg.fs, s.dir); err != nil {
		return err
	}
	if s.db, err = database.Open(s.cfg.fs, s.dir, isNew, s.cfg.maxBytes, s.cfg.log); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.db.Fence.Fail(err)
			s.db.Discard(s.cfg.log)
		}
	}()
	if err := s.load(); err != nil {
		return database.Unreadable(s.dir, err)
	}
	if err := s.writeClock(); err != nil {
		return fmt.Errorf("write to %s: %w", s.dir, err)
	}
	if !isNew {
		return nil
	}
	s.log().Info("a new store of records begins", "dir", s.dir)
	// The first log is of an old format, which does not tell what was synced.
	if err := errors.Join(s.db.Flush(), s.db.Fence.Err()); err != nil {
		return fmt.Errorf("make the store in %s: %w", s.dir, err)
	}
	return s.made()
}

// writeClock has the next opening reckon from this one.
func (s *Store) writeClock() error {
	b := s.db.NewBatch()
	defer b.Close()
	s.began = s.clock.Read()
	if err := entries.SetClock(b, s.began); err != nil {
		return err
	}
	return s.db.Commit(b, true)
}

// made ends the making of a directory: from here on it is a store.
func (s *Store) made() error {
	err := s.cfg.fs.Rename(s.cfg.fs.PathJoin(s.dir, label.Making), s.cfg.fs.PathJoin(s.dir, label.File))
	if err == nil {
		err = disk.SyncDir(s.cfg.fs, s.dir)
	}
	for at := s.dir; ; { // another process may have made those above, or begun to
		parent := s.cfg.fs.PathDir(at)
		if parent == at {
			break
		}
		_ = disk.SyncDir(s.cfg.fs, parent) // may be one that is not ours to read
		at = parent
	}
	if err != nil {
		return fmt.Errorf("make the store in %s: %w", s.dir, err)
	}
	return nil
}

// Update implements [records.Store]. Updates wait in a queue for 1,024, and 2 s for a
// disk that hangs.
func (s *Store) Update(ctx context.Context, key []byte, d records.Durability, change func(old []records.Record) []records.Record, done func(error)) {
	s.enqueue(ctx, update{key: key, d: d, change: change, done: done})
}

func (s *Store) enqueue(ctx context.Context, u update) {
	if err := s.queue.put(ctx, u); err != nil {
		u.done(err)
	}
}

// Get implements [records.Store].
func (s *Store) Get(ctx context.Context, key []byte) ([]records.Record, error) {
	return s.memory.Get(ctx, key)
}

// Keys implements [records.Store].
func (s *Store) Keys(ctx context.Context, prefix []byte, cursor records.Cursor, max int) ([][]byte, records.Cursor, error) {
	return s.memory.Keys(ctx, prefix, cursor, max)
}

// Expired implements [records.Store].
func (s *Store) Expired(ctx context.Context, now time.Time, max int) ([][]byte, error) {
	return s.memory.Expired(ctx, now, max)
}

// Usage implements [records.Store].
func (s *Store) Usage(ctx context.Context) (records.Usage, error) { return s.memory.Usage(ctx) }

// ID implements [records.Store].
func (s *Store) ID() []byte { return s.id }

// Failing implements [records.Store]: the disk has failed or has not answered for 2 s,
// or there is no room on it ([ErrNoRoom]).
func (s *Store) Failing() error {
	if err := s.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// Status is how a store is doing.
type Status struct {
	// Failing is why nothing can be stored, or nil; see [Store.Failing].
	Failing error
	// DiskBytes is what the files of the store take, as of a second ago.
	DiskBytes int64
}

// Status returns how the store is doing.
func (s *Store) Status() Status { return Status{s.Failing(), s.disk.Load()} }

// Close finishes what was called, syncs it and closes the files. Further calls return
// what the first did.
//
// Where the disk hangs Close gives up after 3 s, and its error says what is left: updates
// that waited are refused, though the last ones may be kept all the same, and a goroutine
// stays behind, which closes the files and unlocks the directory when the disk answers.
func (s *Store) Close() error { return s.close() }

func (s *Store) shutdown() error {
	s.queue.close()
	<-s.finished
	if s.closeErr != nil {
		return fmt.Errorf("close the store of records in %s: %w", s.dir, s.closeErr)
	}
	return nil
}

// fail has the store refuse what is to be stored, with why.
func (s *Store) fail(err error) {
	if err == nil {
		s.failing.Store(nil)
		return
	}
	s.failing.Store(&err)
}

func (s *Store) log() *slog.Logger { return s.cfg.log }
