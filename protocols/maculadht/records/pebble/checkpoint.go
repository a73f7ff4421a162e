package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/disk"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/fence"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// Checkpoint makes a copy of the store as it is now in dir, which must not exist; Open
// opens it. All that was acknowledged before is in it. The copy is there whole or not
// at all: it is made beside dir, under its name and ".partial", and renamed. On the
// same file system it costs little, as files are linked. Its [Store.ID] is its own.
//
// Nothing else waits for it. It ends with ctx, and with Close; where the disk hangs then,
// what is under way stays behind until it answers.
func (s *Store) Checkpoint(ctx context.Context, dir string) error {
	if _, real := s.cfg.fs.(disk.Private); real {
		var err error
		if dir, err = filepath.Abs(dir); err != nil {
			return fmt.Errorf("copy the store of records: %w", err)
		}
	}
	if err := s.checkpoint(ctx, dir); err != nil {
		return fmt.Errorf("copy the store of records in %s to %s: %w", s.dir, dir, err)
	}
	return nil
}

func (s *Store) checkpoint(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	files := s.cfg.fs
	if fence.Within(s.dir, dir) {
		return errors.New("the copy would lie within the store; name a directory elsewhere")
	}
	if _, err := files.Stat(dir); err == nil {
		return fmt.Errorf("it is there already; name one that is not: %w", fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := s.use()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	end := context.AfterFunc(s.copying, cancel)
	done := make(chan error, 1)
	go func() {
		defer db.Users.Done()
		defer cancel()
		defer end()
		done <- s.makeCopy(ctx, db, dir)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		late := time.NewTimer(database.FinishWithin)
		defer late.Stop()
		select {
		case err = <-done:
		case <-late.C:
			err = fmt.Errorf("%w, and the disk has not answered for %v", ctx.Err(), database.FinishWithin)
		}
	}
	if s.copying.Err() != nil && errors.Is(err, context.Canceled) {
		return ErrClosed
	}
	return err
}

// use returns the database, which is in use until its users are done.
func (s *Store) use() (*database.DB, error) {
	s.using.Lock()
	defer s.using.Unlock()
	if s.db == nil {
		if err := s.Failing(); err != nil && s.copying.Err() == nil {
			return nil, err
		}
		return nil, ErrClosed
	}
	s.db.Users.Add(1)
	return s.db, nil
}

// makeCopy makes the copy, whole or not at all.
func (s *Store) makeCopy(ctx context.Context, db *database.DB, dir string) error {
	files, partial := s.cfg.fs, dir+".partial"
	if err := files.RemoveAll(partial); err != nil { // of a process that ended
		return err
	}
	err := s.copyTo(ctx, db, partial)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = files.Rename(partial, dir)
	}
	if err != nil {
		return errors.Join(err, files.RemoveAll(partial))
	}
	return disk.SyncDir(files, files.PathDir(dir))
}

// copyTo makes the copy, synced. It is a store by another id: as it may lack what the
// store gets from now on, peers hand that over to it.
func (s *Store) copyTo(ctx context.Context, db *database.DB, dir string) (err error) {
	defer db.Fence.CopyTo(ctx, dir)()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pebble: %v", p)
			db.Fence.Fail(err)
		}
	}()
	if err := db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	if err := db.Fence.Err(); err != nil { // the sync of the log may have been refused
		return err
	}
	return label.Write(s.cfg.fs, dir, label.File, label.New(s.owner))
}
