package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// Why a directory was not opened. Nothing in it has been changed.
var (
	// ErrForeign means that a directory holds something else, or the store of another
	// node or realm.
	ErrForeign = label.ErrForeign
	// ErrNewer means that a newer version of the program has written the store.
	ErrNewer = label.ErrNewer
	// ErrCorrupt means that the store can not be read as it was written.
	ErrCorrupt = label.ErrCorrupt
	// ErrLocked means that the store is open, here or in another process.
	ErrLocked = label.ErrLocked
)

// Owner is whose store a directory holds, by the realm and the node's id. Another one's
// is refused: its records have other nearest nodes, or belong to another mesh.
type Owner = label.Owner

// OwnerOf returns whose store is in dir, for who has no other way to know. The error is
// fs.ErrNotExist to errors.Is where there is none.
func OwnerOf(dir string) (Owner, error) {
	l, err := label.Read(vfs.Default, dir, label.File)
	if err != nil {
		return Owner{}, err
	}
	return l.Owner(dir)
}

// RemoveUnused removes the store in dir in which nothing is kept, so that the directory is
// nobody's again: a store is bound to its first owner. It leaves one that holds anything,
// and does nothing where there is none. Nobody may have it open.
func RemoveUnused(dir string, owner Owner, opts ...Option) error {
	if _, err := OwnerOf(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := Open(dir, owner, opts...)
	if err != nil {
		return err
	}
	usage, err := s.Usage(context.Background())
	unused := err == nil && usage.Keys == 0 && len(s.state.keys()) == 0
	if err = errors.Join(err, s.Close()); err != nil || !unused {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the store of records, in which nothing is: %w", err)
	}
	return nil
}
