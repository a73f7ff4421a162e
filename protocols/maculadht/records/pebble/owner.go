package pebble

import (
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
