package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint makes a copy of the store as it is now in dir, which must not exist; Open
// opens it. All that was acknowledged before is in it. The copy is there whole or not
// at all: it is made beside dir, under its name and ".partial", and renamed. On the
// same file system it costs little, as files are linked.
func (s *Store) Checkpoint(ctx context.Context, dir string) error {
	if _, real := s.cfg.fs.(privateFS); real {
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
	if newFence(files, s.dir).inside(dir) {
		return errors.New("the copy would lie within the store; name a directory elsewhere")
	}
	if _, err := files.Stat(dir); err == nil {
		return fmt.Errorf("it is there already; name one that is not: %w", fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := dir + ".partial"
	if err := files.RemoveAll(partial); err != nil { // of a process that ended
		return err
	}
	err := s.copyTo(partial)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = files.Rename(partial, dir)
	}
	if err != nil {
		return errors.Join(err, files.RemoveAll(partial))
	}
	return syncDir(files, files.PathDir(dir))
}

// copyTo makes the copy, synced.
func (s *Store) copyTo(dir string) (err error) {
	s.using.RLock()
	defer s.using.RUnlock()
	if s.db == nil {
		if err := s.Failing(); err != nil {
			return err
		}
		return ErrClosed
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pebble: %v", p)
			s.db.fence.fail(err)
		}
	}()
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	if err := s.db.fence.Err(); err != nil { // the sync of the log may have been refused
		return err
	}
	return writeLabel(s.cfg.fs, dir, ownerFile, s.label)
}
