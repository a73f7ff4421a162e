package fence

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Fence is the file system as one opening of the database sees it. Pebble takes a
// failed write for the end of the process: it panics, in places with its locks held. So
// it never hears of one: with the first error nothing reaches the disk any more, as if
// the power had gone, and Pebble goes on and is told that all is well. Whoever waits for
// a write asks the fence whether that is so. Errors of reading are Pebble's to handle.
//
// What lies outside of the database's directory, such as a copy of it, is not fenced.
type Fence struct {
	vfs.FS
	dir    string
	Failed chan struct{} // closed with the first error
	Ended  chan struct{} // closed after it, when nothing is under way any more

	mu     sync.Mutex
	err    error
	under  int                        // how much is under way
	copies map[string]context.Context // of which each ends what is written under a path outside
}

// New returns a fence around the files of a database in dir.
func New(fs vfs.FS, dir string) *Fence {
	return &Fence{FS: fs, dir: dir, Failed: make(chan struct{}), Ended: make(chan struct{}), copies: make(map[string]context.Context)}
}

// Fail puts the fence up, for the first error of all.
func (f *Fence) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		close(f.Failed)
		if f.under == 0 {
			close(f.Ended)
		}
	}
}

// begin begins something on the disk unless the fence is up. end ends it.
func (f *Fence) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false
	}
	f.under++
	return true
}

func (f *Fence) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.under--; f.under == 0 && f.err != nil {
		close(f.Ended)
	}
}

// Err returns the error for which the fence is up, or nil.
func (f *Fence) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Try does something to the disk unless the fence is up, and puts it up if that fails.
func (f *Fence) Try(do func() error) (done bool) {
	if !f.begin() {
		return false
	}
	defer f.end()
	if err := do(); err != nil {
		f.Fail(err)
		return false
	}
	return true
}

func (f *Fence) inside(name string) bool { return Within(f.dir, name) }

// Within reports whether a path is that of a directory or of what is in it.
func Within(dir, name string) bool {
	rest, ok := strings.CutPrefix(name, dir)
	return ok && (rest == "" || os.IsPathSeparator(rest[0]))
}

// Lock locks nothing: the store has locked the directory, for all its openings.
func (f *Fence) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (f *Fence) open(name string, open func() (vfs.File, error)) (vfs.File, error) {
	if !f.inside(name) {
		return f.openCopy(name, open)
	}
	var file vfs.File = &void{name: f.PathBase(name)}
	f.Try(func() error {
		opened, err := open()
		if err == nil {
			file = opened
		}
		return err
	})
	return &fencedFile{File: file, fence: f, name: name}, nil
}

// Create implements [vfs.FS].
func (f *Fence) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

// OpenReadWrite implements [vfs.FS].
func (f *Fence) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) })
}

// ReuseForWrite implements [vfs.FS].
func (f *Fence) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, category) })
}

// OpenDir implements [vfs.FS].
func (f *Fence) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil || !f.inside(name) {
		return file, err
	}
	return &fencedFile{File: file, fence: f, name: name}, nil
}

// Rename implements [vfs.FS].
func (f *Fence) Rename(oldname, newname string) error {
	if !f.inside(newname) {
		return f.FS.Rename(oldname, newname)
	}
	f.Try(func() error { return f.FS.Rename(oldname, newname) })
	return nil
}

// Link implements [vfs.FS].
func (f *Fence) Link(oldname, newname string) error {
	if !f.inside(newname) {
		if err := f.copying(newname).Err(); err != nil {
			return err
		}
		return f.FS.Link(oldname, newname)
	}
	f.Try(func() error { return f.FS.Link(oldname, newname) })
	return nil
}

// Remove fails as it does: a file that stays does no harm.
func (f *Fence) Remove(name string) error {
	if !f.inside(name) {
		return f.FS.Remove(name)
	}
	if !f.begin() {
		return nil
	}
	defer f.end()
	return f.FS.Remove(name)
}

// RemoveAll implements [vfs.FS].
func (f *Fence) RemoveAll(name string) error {
	if !f.inside(name) {
		return f.FS.RemoveAll(name)
	}
	if !f.begin() {
		return nil
	}
	defer f.end()
	return f.FS.RemoveAll(name)
}

// Unwrap implements [vfs.FS].
func (f *Fence) Unwrap() vfs.FS { return f.FS }

// fencedFile is a file that is written to, or a directory that is synced.
type fencedFile struct {
	vfs.File
	fence *Fence
	name  string
}

func (f *fencedFile) Write(p []byte) (int, error) {
	n := len(p)
	f.fence.Try(func() error { _, err := f.File.Write(p); return f.failed(err) })
	return n, nil
}

func (f *fencedFile) WriteAt(p []byte, at int64) (int, error) {
	n := len(p)
	f.fence.Try(func() error { _, err := f.File.WriteAt(p, at); return f.failed(err) })
	return n, nil
}

func (f *fencedFile) Sync() error {
	f.fence.Try(func() error { return f.failed(f.File.Sync()) })
	return nil
}

func (f *fencedFile) SyncData() error {
	f.fence.Try(func() error { return f.failed(f.File.SyncData()) })
	return nil
}

func (f *fencedFile) SyncTo(length int64) (full bool, err error) {
	f.fence.Try(func() (err error) { full, err = f.File.SyncTo(length); return f.failed(err) })
	return full, nil
}

// Preallocate may do nothing: a full disk shows when it is written to.
func (f *fencedFile) Preallocate(at, length int64) error {
	if f.fence.begin() {
		defer f.fence.end()
		_ = f.File.Preallocate(at, length)
	}
	return nil
}

func (f *fencedFile) Stat() (vfs.FileInfo, error) {
	var info vfs.FileInfo = voidInfo(f.name)
	f.fence.Try(func() error {
		found, err := f.File.Stat()
		if err == nil {
			info = found
		}
		return f.failed(err)
	})
	return info, nil
}

// Close closes the file in any case.
func (f *fencedFile) Close() error {
	if err := f.File.Close(); err != nil && f.fence.Err() == nil {
		f.fence.Fail(f.failed(err))
	}
	return nil
}

func (f *fencedFile) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", f.name, err)
}
