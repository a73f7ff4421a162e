// Package label says whose the store in a directory is, and why one is not opened.
package label

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/disk"
)

// Why a directory was not opened. Nothing in it has been changed.
var (
	// ErrForeign means that a directory holds something else, or the store of another
	// node or realm.
	ErrForeign = errors.New("not this node's store")
	// ErrNewer means that a newer version of the program has written the store.
	ErrNewer = errors.New("the store is of a newer format")
	// ErrCorrupt means that the store can not be read as it was written.
	ErrCorrupt = errors.New("the store is damaged")
	// ErrLocked means that the store is open, here or in another process.
	ErrLocked = errors.New("the store is in use")
)

// Owner is whose store a directory holds. Another one's is refused: its records have
// other nearest nodes, or belong to another mesh.
type Owner struct {
	Realm  string
	NodeID []byte
}

// format is that of the directory: how keys and records are written, and of which kind
// Pebble's files are.
const format = 1

// File names the file that says whose the store is and how it is written; it is
// made last. Making is its name until all the rest is there.
const (
	File   = "STORE.json"
	Making = "STORE.json.new"
)

// Label is the content of File.
type Label struct {
	Format int    `json:"format"`
	Realm  string `json:"realm"`
	NodeID string `json:"node_id"`
	ID     string `json:"store_id"`
	// Sum is the CRC of the label without it; those of before have none.
	Sum string `json:"sum,omitempty"`
}

// New returns the label of a store that is made, with an id of its own.
func New(owner Owner) Label {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	l := Label{Format: format, Realm: owner.Realm, NodeID: hex.EncodeToString(owner.NodeID), ID: hex.EncodeToString(id)}
	l.Sum = l.sum()
	return l
}

func (l Label) sum() string {
	l.Sum = ""
	text, _ := json.Marshal(l) // of strings and a number: never fails
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE(text))
}

// StoreID returns the id of the store.
func (l *Label) StoreID() []byte {
	id, _ := hex.DecodeString(l.ID)
	return id
}

// Check refuses another's store.
func (l *Label) Check(dir string, owner Owner) error {
	id, err := hex.DecodeString(l.ID)
	switch want := hex.EncodeToString(owner.NodeID); {
	case l.Format > format:
		return fmt.Errorf("%w: %s is of format %d, this program knows %d; run a newer one, or move the directory away to begin anew", ErrNewer, dir, l.Format, format)
	case l.Format < 1 || err != nil || len(id) != 16:
		return Corrupt(dir, fmt.Errorf("%s says format %d and store_id %q", File, l.Format, l.ID))
	case l.Sum != "" && l.Sum != l.sum():
		return Corrupt(dir, fmt.Errorf("%s is not as it was written", File))
	case l.Realm != owner.Realm:
		return fmt.Errorf("%w: %s is of the realm %q, this node of %q; use another directory, or move this one away to begin anew", ErrForeign, dir, l.Realm, owner.Realm)
	case l.NodeID != want:
		return fmt.Errorf("%w: %s is of the node %s, this one is %s; use the key that it was made with, or move the directory away to begin anew", ErrForeign, dir, l.NodeID, want)
	}
	return nil
}

// Corrupt says that the store in dir can not be read, and what to do.
func Corrupt(dir string, err error) error {
	return fmt.Errorf("%w: %s: %w; put a backup in its place, or move the directory away to begin anew", ErrCorrupt, dir, brief{err})
}

// brief is an error of which only the first line is said: Pebble adds others, for itself.
type brief struct{ error }

func (b brief) Error() string {
	line, _, _ := strings.Cut(b.error.Error(), "\n")
	return line
}

func (b brief) Unwrap() error { return b.error }

// Read reads a label. The error is fs.ErrNotExist where there is none.
func Read(files vfs.FS, dir, name string) (l Label, err error) {
	f, err := files.Open(files.PathJoin(dir, name))
	if err != nil {
		return l, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err = errors.Join(err, f.Close()); err != nil {
		return l, fmt.Errorf("read %s: %w", files.PathJoin(dir, name), err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&l); err != nil {
		return l, Corrupt(dir, fmt.Errorf("%s is not readable: %w", name, err))
	}
	return l, nil
}

// Write writes a label that is there after a power cut.
func Write(files vfs.FS, dir, name string, l Label) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	f, err := files.Create(files.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return disk.SyncDir(files, dir)
}

// Identify returns the label of the store in dir, and whether it is still to be made: the
// directory is empty, or was being made when the process ended. Anything else that is
// not this owner's is refused.
func Identify(files vfs.FS, dir string, owner Owner) (l Label, isNew bool, err error) {
	l, err = Read(files, dir, File)
	if err == nil {
		return l, false, l.Check(dir, owner)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return l, false, err
	}
	names, err := files.List(dir)
	if err != nil {
		return l, false, fmt.Errorf("list %s: %w", dir, err)
	}
	begun := false
	for _, name := range names {
		begun = begun || name == Making
	}
	for _, name := range names {
		if !begun && name != "LOCK" {
			return l, false, fmt.Errorf("%w: %s holds %s and no %s; name an empty directory, or, if it is a store that has lost that file, put a backup in its place", ErrForeign, dir, name, File)
		}
	}
	return New(owner), true, nil
}

// Owner returns whose store it is, of the store in dir.
func (l *Label) Owner(dir string) (Owner, error) {
	id, err := hex.DecodeString(l.NodeID)
	if err != nil {
		return Owner{}, Corrupt(dir, fmt.Errorf("%s says node_id %q", File, l.NodeID))
	}
	return Owner{l.Realm, id}, nil
}
