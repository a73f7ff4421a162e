// Package disk makes files and directories that are their user's alone, and that are there
// after a power cut.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The modes of what is made.
const (
	DirMode  = 0o700
	FileMode = 0o600
)

// MakeDir makes a directory with those above it, as its user's alone, and has those that
// it made there after a power cut.
func MakeDir(files vfs.FS, dir string) error {
	var above []string // in which something is made
	for at := dir; ; {
		if _, err := files.Stat(at); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		parent := files.PathDir(at)
		if parent == at {
			break
		}
		above = append(above, parent)
		at = parent
	}
	if err := files.MkdirAll(dir, DirMode); err != nil {
		return err
	}
	for _, parent := range above {
		if err := SyncDir(files, parent); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir has what is in a directory there after a power cut.
func SyncDir(files vfs.FS, dir string) error {
	d, err := files.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Private is the machine's file system. What it makes is its user's alone, whatever
// the umask: Pebble leaves that to the umask.
type Private struct{ vfs.FS }

func private(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, FileMode); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Create implements [vfs.FS].
func (p Private) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := p.FS.Create(name, category)
	return private(name, file, err)
}

// OpenReadWrite implements [vfs.FS].
func (p Private) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := p.FS.OpenReadWrite(name, category, opts...)
	return private(name, file, err)
}

// ReuseForWrite implements [vfs.FS].
func (p Private) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := p.FS.ReuseForWrite(oldname, newname, category)
	return private(newname, file, err)
}

// Lock implements [vfs.FS].
func (p Private) Lock(name string) (io.Closer, error) {
	lock, err := p.FS.Lock(name)
	if err == nil {
		err = os.Chmod(name, FileMode)
		if err != nil {
			_ = lock.Close()
			return nil, err
		}
	}
	return lock, err
}

// MkdirAll implements [vfs.FS].
func (p Private) MkdirAll(dir string, _ os.FileMode) error {
	return p.FS.MkdirAll(dir, DirMode)
}

// Unwrap implements [vfs.FS].
func (p Private) Unwrap() vfs.FS { return p.FS }
