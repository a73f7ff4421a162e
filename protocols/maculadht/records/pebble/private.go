package pebble

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	privateDir  = 0o700
	privateFile = 0o600
)

// makeDir makes a directory with those above it, as its user's alone, and has those that
// it made there after a power cut.
func makeDir(files vfs.FS, dir string) error {
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
	if err := files.MkdirAll(dir, privateDir); err != nil {
		return err
	}
	for _, parent := range above {
		if err := syncDir(files, parent); err != nil {
			return err
		}
	}
	return nil
}

// privateFS is the machine's file system. What it makes is its user's alone, whatever
// the umask: Pebble leaves that to the umask.
type privateFS struct{ vfs.FS }

func private(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, privateFile); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func (p privateFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := p.FS.Create(name, category)
	return private(name, file, err)
}

func (p privateFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := p.FS.OpenReadWrite(name, category, opts...)
	return private(name, file, err)
}

func (p privateFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := p.FS.ReuseForWrite(oldname, newname, category)
	return private(newname, file, err)
}

func (p privateFS) Lock(name string) (io.Closer, error) {
	lock, err := p.FS.Lock(name)
	if err == nil {
		err = os.Chmod(name, privateFile)
		if err != nil {
			_ = lock.Close()
			return nil, err
		}
	}
	return lock, err
}

func (p privateFS) MkdirAll(dir string, _ os.FileMode) error {
	return p.FS.MkdirAll(dir, privateDir)
}

func (p privateFS) Unwrap() vfs.FS { return p.FS }
