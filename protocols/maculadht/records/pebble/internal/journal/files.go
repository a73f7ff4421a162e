package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/disk"
)

// Files is the file system of a database, in which what is synced is noted.
type Files struct {
	vfs.FS
	dir string

	// noting has the token of who writes a note, which may take as long as the disk likes:
	// nobody who syncs waits for it.
	noting  chan struct{}
	number  uint64 // of the last note
	written string // the name of its file, or ""

	mu     sync.Mutex
	synced map[string]int64 // how far, by the file's name
	begun  bool             // a log, since the directory was synced
}

// New returns a file system that notes what is synced in dir, and goes on from what is
// noted there. Nothing is said of how far the logs that are there were synced: they are
// read, and what is in them goes to tables.
func New(files vfs.FS, dir string) (*Files, error) {
	f := &Files{FS: files, dir: dir, noting: make(chan struct{}, 1), synced: make(map[string]int64)}
	names, err := files.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	f.number = lastNote(names).number
	for _, name := range names {
		if _, isLog := numberOf(name); isLog {
			f.synced[name] = 0
		}
		if n, ok := parseNote(name); ok && n.number == f.number {
			f.written = name
		}
	}
	return f, nil
}

// Note notes how far files have been synced, where that has changed. It needs no sync: an
// older note is as true.
func (f *Files) Note() error {
	f.noting <- struct{}{}
	defer func() { <-f.noting }()
	return f.write()
}

// NoteForGood notes it so that it is there after a power cut.
func (f *Files) NoteForGood() error {
	if err := f.Note(); err != nil {
		return err
	}
	return disk.SyncDir(f.FS, f.dir)
}

// write makes the note's file, or gives it another name. Its caller has the token.
func (f *Files) write() error {
	f.mu.Lock()
	next := note{f.number + 1, maps.Clone(f.synced)}
	f.mu.Unlock()
	if last, ok := parseNote(f.written); ok && maps.Equal(last.synced, next.synced) {
		return nil
	}
	f.number = next.number
	name, old := next.name(), f.written
	path := f.PathJoin(f.dir, name)
	var err error
	if old != "" {
		err = f.FS.Rename(f.PathJoin(f.dir, old), path)
	}
	if old == "" || errors.Is(err, fs.ErrNotExist) { // somebody has removed it
		var file vfs.File
		if file, err = f.FS.Create(path, vfs.WriteCategoryUnspecified); err == nil {
			err = file.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("note what is synced in %s: %w", f.dir, err)
	}
	f.written = name
	return nil
}

// of returns the name of a log or a manifest in the directory, or "".
func (f *Files) of(path string) string {
	name := f.PathBase(path)
	if n, _ := numberOf(name); n == 0 || f.PathDir(path) != f.PathDir(f.PathJoin(f.dir, name)) {
		return ""
	}
	return name
}

// begin has a file be written from its beginning.
func (f *Files) begin(path string, file vfs.File, err error) (vfs.File, error) {
	name := f.of(path)
	if err != nil || name == "" {
		return file, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasPrefix(name, manifestPrefix) {
		maps.DeleteFunc(f.synced, func(other string, _ int64) bool { return strings.HasPrefix(other, manifestPrefix) })
	}
	f.synced[name] = 0
	f.begun = true
	return &appended{File: file, files: f, name: name}, nil
}

// Create implements [vfs.FS].
func (f *Files) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	return f.begin(name, file, err)
}

// ReuseForWrite implements [vfs.FS].
func (f *Files) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(oldname, newname, category)
	if err == nil {
		f.forget(f.of(oldname))
	}
	return f.begin(newname, file, err)
}

func (f *Files) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.synced, name)
}

// Remove implements [vfs.FS]. That a log is gone is noted before it is.
func (f *Files) Remove(path string) error {
	if name := f.of(path); name != "" {
		f.forget(name)
		if err := f.NoteForGood(); err != nil {
			return err
		}
	}
	return f.FS.Remove(path)
}

// OpenDir implements [vfs.FS].
func (f *Files) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil || name != f.dir {
		return dir, err
	}
	return &syncedDir{dir, f}, nil
}

// Unwrap implements [vfs.FS].
func (f *Files) Unwrap() vfs.FS { return f.FS }

// syncedDir is the directory. When a log has begun, that is noted once its name is there
// for good, and before anything is written to it.
type syncedDir struct {
	vfs.File
	files *Files
}

func (d *syncedDir) Sync() error {
	if err := d.File.Sync(); err != nil {
		return err
	}
	if noted, err := d.files.noteBegun(); err != nil || !noted {
		return err
	}
	return d.File.Sync()
}

// noteBegun makes a note where a file has begun.
func (f *Files) noteBegun() (noted bool, err error) {
	f.noting <- struct{}{}
	defer func() { <-f.noting }()
	if !f.setBegun(false) {
		return false, nil
	}
	if err := f.write(); err != nil {
		f.setBegun(true)
		return false, err
	}
	return true, nil
}

// setBegun returns whether a file had begun.
func (f *Files) setBegun(begun bool) (was bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, f.begun = f.begun, begun
	return was
}

// appended is a log or a manifest that is written to.
type appended struct {
	vfs.File
	files  *Files
	name   string
	length int64 // only its writer's
}

func (a *appended) Write(p []byte) (int, error) {
	n, err := a.File.Write(p)
	a.length += int64(n)
	return n, err
}

func (a *appended) Sync() error     { return a.synced(a.length, a.File.Sync()) }
func (a *appended) SyncData() error { return a.synced(a.length, a.File.SyncData()) }

func (a *appended) synced(length int64, err error) error {
	if err != nil {
		return err
	}
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	if _, there := a.files.synced[a.name]; there {
		a.files.synced[a.name] = length
	}
	return nil
}
