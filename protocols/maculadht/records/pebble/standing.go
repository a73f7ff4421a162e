package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/disk"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// Copy makes a copy of the store in dir, which nobody has open, in to, which must not
// exist; the store is only read, so that it may be on a disk that takes nothing. The copy
// has a store_id of its own, and is opened once to see that it can be: the error is
// [ErrCorrupt] where it can not. What is left of it after an error is the caller's to
// remove. On the same file system it costs little, as tables are linked.
func Copy(ctx context.Context, dir, to string) error {
	if err := copyStanding(ctx, dir, to); err != nil {
		return fmt.Errorf("copy the store of records in %s to %s: %w", dir, to, err)
	}
	return nil
}

func copyStanding(ctx context.Context, dir, to string) error {
	owner, err := OwnerOf(dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, disk.DirMode); err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name := e.Name(); e.Type().IsRegular() && name != "LOCK" && name != label.File {
			if err := copyFile(filepath.Join(dir, name), filepath.Join(to, name)); err != nil {
				return err
			}
		}
	}
	cfg, err := newConfig(nil)
	if err != nil {
		return err
	}
	if err := label.Write(cfg.fs, to, label.File, label.New(owner)); err != nil {
		return err
	}
	copied, err := Open(to, owner)
	if err != nil {
		return err
	}
	return copied.Close()
}

// copyFile copies a file, or links it where it is a table: those are never written to
// again, unlike all other files.
func copyFile(from, to string) (err error) {
	if strings.HasSuffix(from, ".sst") && os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, disk.FileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close()) // the opening and the backup sync it
}
