// Package room keeps the files of a store within what they may take of the disk: it says
// when there is no room for more, and has what is gone leave the disk.
package room

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
)

// ErrNone means that there is no room.
var ErrNone = errors.New("no room on the disk")

// ErrBound is an [ErrNone]: the files have what they may take.
var ErrBound = fmt.Errorf("%w within the bound", ErrNone)

// Bounds are what the files of a store in Dir may take, and what is left to others of the
// disk, in bytes.
type Bounds struct {
	Dir          string
	Max, Reserve int64
}

// Space is what the files of a store take, and what is left of the disk, in bytes.
type Space struct {
	Used   int64 // all files
	Coming int64 // that may be added while tables are written and merged, without another update
	Tables int64
	Free   uint64
	known  bool // whether Free is
}

// mergedTables is how many tables in memory the tables are as large as that are merged at
// once, about: what they were is removed when they have been.
const mergedTables = 10

// Measure looks at a database and at the disk.
func Measure(db *database.DB, files vfs.FS, dir string) Space {
	m := db.Metrics()
	s := Space{Used: int64(m.DiskSpaceUsage()), Tables: int64(m.Table.Local.LiveSize)}
	// New tables are merged with all of the level below them.
	merging := m.Levels[0].TablesSize
	for i := 1; i < len(m.Levels); i++ {
		if below := m.Levels[i].TablesSize; below > 0 {
			merging += below
			break
		}
	}
	merging = max(merging, min(s.Tables, mergedTables*db.MemTableBytes)) - m.Compact.InProgressBytes
	s.Coming = int64(m.MemTable.Size) + max(merging, 0)
	if disk, err := files.GetDiskUsage(dir); err == nil {
		s.Free, s.known = disk.AvailBytes, true
	}
	return s
}

// Check returns an [ErrNone] where there is no room for more.
func (b Bounds) Check(s Space) error {
	switch {
	case s.Used+s.Coming > b.Max:
		return fmt.Errorf("%w: the store in %s takes %d bytes of the %d that it may, and needs up to %d to merge them",
			ErrBound, b.Dir, s.Used, b.Max, s.Coming)
	case s.known && s.Free < uint64(b.Reserve):
		return fmt.Errorf("%w: %d bytes are free where %s is, and %d are left to others; make room", ErrNone, s.Free, b.Dir, b.Reserve)
	}
	return nil
}
