package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// Make makes a directory that only its owner can enter, and those above it that are
// missing, so that they survive a power cut. One that is there is left as it is.
func Make(path string) error {
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	above := filepath.Dir(path)
	if above != path {
		if err := Make(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	_ = os.Chmod(path, 0o700) // whatever the umask; not every file system keeps modes
	if err := Sync(above); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// MakePrivate is Make of a directory that the node alone has a use for, inside its
// data directory: where others could enter it, that is mended.
func MakePrivate(path string) error {
	if err := Make(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && hasModes && info.Mode().Perm()&0o077 != 0 && keepsModes(path) {
		err = os.Chmod(path, 0o700)
	}
	return err
}

// NotWritableError: nothing can be written to a data directory.
type NotWritableError struct {
	Dir string
	Err error
}

func (e *NotWritableError) Error() string {
	switch is := func(target error) bool { return errors.Is(e.Err, target) }; {
	case slices.ContainsFunc(noRoom, is):
		return fmt.Sprintf("there is no room for the data directory %s: free some on its disk: %v", e.Dir, e.Err)
	case is(readOnly):
		return fmt.Sprintf("the data directory %s is on a read-only file system: mount it for writing: %v", e.Dir, e.Err)
	case is(fs.ErrPermission):
		return fmt.Sprintf("this user%s may not write to the data directory %s%s: %s, or choose another: %v", currentUser(), e.Dir, belongs(e.Dir), toWrite(e.Dir), e.Err)
	}
	return fmt.Sprintf("nothing can be written to the data directory %s: %v", e.Dir, e.Err)
}

func (e *NotWritableError) Unwrap() error { return e.Err }

// CheckWritable writes a file to a directory and removes it. The error is a
// NotWritableError.
func CheckWritable(dir string) error {
	file, err := os.CreateTemp(dir, "probe.*.tmp")
	if err != nil {
		return &NotWritableError{dir, err}
	}
	defer os.Remove(file.Name())
	_, err = file.Write(make([]byte, 4096)) // a full disk may still have room for a name
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return &NotWritableError{dir, err}
	}
	return nil
}

// currentUser names the user of this process, where users are numbers.
func currentUser() string {
	if uid := os.Geteuid(); uid >= 0 {
		return fmt.Sprintf(" (uid %d)", uid)
	}
	return ""
}

// belongs says whose a directory is.
func belongs(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	uid, ok := ownerOf(info)
	if !ok {
		return ""
	}
	return fmt.Sprintf(", which belongs to the uid %d (mode %#o)", uid, info.Mode().Perm())
}

// toWrite says how a directory can be written to that can not be yet.
func toWrite(dir string) string {
	if info, err := os.Stat(dir); err == nil {
		if uid, ok := ownerOf(info); ok && uid == os.Geteuid() {
			return "run chmod u+rwx " + dir
		}
	}
	return "run as its owner"
}

// foreign says what comes of a directory that belongs to another user, nothing where
// it does not or where that one is root.
func foreign(dir string, info fs.FileInfo) string {
	uid, ok := ownerOf(info)
	switch us := os.Geteuid(); {
	case !ok || uid == us:
		return ""
	case us == 0:
		return fmt.Sprintf("the data directory %s belongs to the uid %d, and this node runs as root: that user will not be able to read what it writes; run it as that user, or run chown -R 0 %s", dir, uid, dir)
	case uid == 0:
		return ""
	}
	return fmt.Sprintf("the data directory %s belongs to the uid %d, who can give the node another identity: run chown -R %d %s as root", dir, uid, os.Geteuid(), dir)
}

// leftover is the name of a file that was being written beside the one whose place
// it was to take.
var leftover = regexp.MustCompile(`\.[0-9]+\.tmp$`)

// leftoverAge is after what time nobody writes such a file any more.
const leftoverAge = time.Minute

// clean removes what writers that were killed left behind: it may hold a secret.
func clean(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // the directory's user meets that error too
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && leftover.MatchString(e.Name()) && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftoverAge {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
