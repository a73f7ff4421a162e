package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node/credentials"
)

// StoreDir is the name, inside a data directory and inside a copy of it, of the
// directory of the records.
const StoreDir = "store"

// partial ends the name of a copy that is not whole yet; mark names the file in it by
// which one that a process works on is told from one that it left when it was killed.
const (
	partial = ".partial"
	mark    = "backup.lock"
)

var (
	// ErrExists: there is something already where the copy should go.
	ErrExists = errors.New("there is something already")
	// ErrNothing: the data directory has nothing to copy.
	ErrNothing = errors.New("nothing to back up")
	// ErrRecords: the records could not be copied. With it is why; a copy of the rest
	// may be had.
	ErrRecords = errors.New("copy the records")
	// ErrPlace: the copy can not be where it should go.
	ErrPlace = errors.New("a backup can not be there")
)

// Checkpointer is a store of records that can be copied while it is used.
type Checkpointer interface {
	// Checkpoint makes a copy of all that was acknowledged before it, in a directory
	// that it makes.
	Checkpoint(ctx context.Context, dir string) error
}

// Made is a copy.
type Made struct {
	Dir     string // absolute
	Files   int    // in it
	Bytes   int64  // of the files; those of records may share the disk with the store's
	Key     bool   // whether the node's key is in it
	Records bool   // whether records are in it
	// Unread says that the records are of a store in the data directory which the node
	// that runs there has not read, as it keeps its own in memory.
	Unread bool
}

// Make copies what is kept in dataDir to dir, which must not exist: the identity key,
// the certificate and, unless store is nil, its records as they are. The directory is
// for its owner alone and appears in one step, when all of it is on the disk. Errors
// are ErrExists, ErrNothing and ErrPlace to errors.Is, and those of the disk and of
// store; nothing is left behind then. What a process that was killed has left of a copy
// to dir is removed.
func Make(ctx context.Context, dataDir string, store Checkpointer, dir string) (Made, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Made{}, err
	}
	if err := checkPlace(dataDir, dir); err != nil {
		return Made{}, err
	}
	work := dir + partial
	unmark, err := begin(work)
	if err != nil {
		return Made{}, err
	}
	made, err := fill(ctx, dataDir, store, work)
	if err = errors.Join(err, unmark()); err == nil {
		err = publish(ctx, work, dir)
	}
	if err != nil {
		return Made{}, errors.Join(err, os.RemoveAll(work))
	}
	made.Dir = dir
	return made, nil
}

// begin makes and marks the directory of a copy that is not whole yet, in place of one
// that was left.
func begin(work string) (unmark func() error, err error) {
	if datadir.IsAbandoned(filepath.Join(work, mark)) {
		if err := os.RemoveAll(work); err != nil {
			return nil, fmt.Errorf("remove what a backup that was cut short left, which may hold the node's key: %w", err)
		}
	}
	_ = os.Remove(work) // where it is empty, as one that was killed before it had marked it left it
	if err := os.Mkdir(work, 0o700); err == nil {
		unmark, err := datadir.Mark(filepath.Join(work, mark))
		if err != nil {
			err = errors.Join(err, os.Remove(work))
		}
		return unmark, err
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, unwritable(filepath.Dir(work), err)
	}
	return nil, fmt.Errorf("%w: %s: wait for the backup that is being made there, or remove what one that was cut short left, as it may hold the node's key", ErrExists, work)
}

// unwritable says that a copy can not be made in a directory, and why: not by the name of
// what was to be made, which nobody has asked for.
func unwritable(dir string, err error) error {
	if path, is := errors.AsType[*fs.PathError](err); is {
		err = path.Err
	}
	return fmt.Errorf("%w: it can not be made in %s: %w: name a directory elsewhere", ErrPlace, dir, err)
}

// checkPlace returns why a copy of dataDir can not be in dir, if it can not.
func checkPlace(dataDir, dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("%w: %s: name a directory that is not there yet", ErrExists, dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	info, err := os.Stat(above)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is not there: make it first", ErrPlace, above)
	case err != nil:
		return err
	}
	for at := above; ; at = filepath.Dir(at) {
		if data, err := os.Stat(dataDir); err == nil && os.SameFile(info, data) {
			return fmt.Errorf("%w: %s is inside the data directory %s", ErrPlace, dir, dataDir)
		}
		if filepath.Dir(at) == at {
			return nil
		}
		if info, err = os.Stat(filepath.Dir(at)); err != nil {
			return err
		}
	}
}

// fill copies into an empty directory.
func fill(ctx context.Context, dataDir string, store Checkpointer, work string) (made Made, err error) {
	found := false
	for _, name := range credentials.Files() {
		data, err := os.ReadFile(filepath.Join(dataDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = datadir.CreatePrivate(filepath.Join(work, name), data)
		}
		if err != nil {
			return made, fmt.Errorf("copy %s: %w", name, err)
		}
		found = true
		made.Key = made.Key || name == credentials.KeyFile
	}
	if store != nil {
		if err := store.Checkpoint(ctx, filepath.Join(work, StoreDir)); err != nil {
			return made, fmt.Errorf("%w: %w", ErrRecords, err)
		}
		made.Records = true
	}
	if !found && store == nil {
		return made, fmt.Errorf("%w: no node has kept anything in %s", ErrNothing, dataDir)
	}
	err = filepath.WalkDir(work, func(path string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if path == filepath.Join(work, mark) {
			return nil
		}
		return settle(path, e, &made)
	})
	return made, err
}

// settle counts a file or directory of a copy, has it be its owner's, and puts it on
// the disk.
func settle(path string, e fs.DirEntry, made *Made) error {
	mode := fs.FileMode(0o700)
	if !e.IsDir() {
		info, err := e.Info()
		if err != nil {
			return err
		}
		made.Files++
		made.Bytes += info.Size()
		mode = 0o600
	}
	_ = os.Chmod(path, mode) // not every file system keeps modes
	return datadir.Sync(path)
}

// publish gives a whole copy its name.
func publish(ctx context.Context, work, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil { // a rename may take the place of an empty one
		return fmt.Errorf("%w: %s", ErrExists, dir)
	}
	if err := os.Rename(work, dir); err != nil {
		return err
	}
	return datadir.Sync(filepath.Dir(dir))
}
