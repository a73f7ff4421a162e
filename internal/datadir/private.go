package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// ReadPrivate reads a file of a data directory that holds a secret; what names it
// in errors. What can not be this node's own is refused before a byte of it is
// read, and so is what everybody can reach. Its group may have it: that is how
// Kubernetes hands files to a program. A file system that keeps no modes, as on
// memory cards, has nothing to refuse; see Warnings. The error is fs.ErrNotExist
// to errors.Is where there is no file.
func ReadPrivate(what, path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("find the %s: %w", what, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s %s is not a regular file (%s): move it away", what, path, info.Mode())
	case hasModes && info.Mode().Perm()&0o007 != 0 && keepsModes(filepath.Dir(path)):
		return nil, fmt.Errorf("%s %s is open to everybody (mode %#o): run chmod 600 %s", what, path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	return data, nil
}

// CreatePrivate makes a file that only its owner can read, and its directory. It
// appears in one step, or fails with fs.ErrExist if there is one: of several
// processes that start at once the first wins.
func CreatePrivate(path string, data []byte) error {
	if err := Make(filepath.Dir(path)); err != nil {
		return err
	}
	// A rename overwrites, and a link, which does not, is more than some file systems have.
	unlock, err := lockBeside(path)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		return err
	}
	return ReplacePrivate(path, data)
}

// ReplacePrivate writes a file that only its owner can read, in place of the one
// that there may be, in one step that survives a power cut.
func ReplacePrivate(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_ = file.Chmod(0o600) // whatever the umask; not every file system keeps modes
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return Sync(filepath.Dir(path))
}

// lockBeside keeps other processes from creating path until it is undone.
func lockBeside(path string) (unlock func(), err error) {
	name := path + ".lock"
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(file, exclusive); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), file.Close())
		}
		ours, err := file.Stat()
		there, thereErr := os.Stat(name)
		if err == nil && thereErr == nil && os.SameFile(ours, there) {
			return func() {
				_ = os.Remove(name) // where an open file can not be removed it stays, and does no harm
				_ = file.Close()
			}, nil
		}
		if err := errors.Join(err, file.Close()); err != nil { // whoever had it before has removed it
			return nil, err
		}
	}
}

// Sync has a file's bytes, or a directory's names, survive a power cut, as far as
// the file system can do that.
func Sync(path string) error {
	if runtime.GOOS == "windows" { // has no such call for what is open for reading
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	err = file.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// hasModes: those of Windows say nothing about who may read.
const hasModes = runtime.GOOS != "windows"

// keepsModes reports whether the file system of a directory keeps the modes that
// its files are given. Where that can not be tried it does.
func keepsModes(dir string) bool {
	file, err := os.CreateTemp(dir, "mode.*.tmp") // mode 0600
	if err != nil {
		return true
	}
	defer os.Remove(file.Name())
	defer file.Close()
	info, err := file.Stat()
	return err != nil || info.Mode().Perm() == 0o600
}

// Warnings says what of a data directory, and of the files named in it, is open to
// others than its owner and yet no reason to refuse it.
func Warnings(dir string, files ...string) []string {
	if !hasModes {
		return nil
	}
	if !keepsModes(dir) {
		return []string{fmt.Sprintf("the file system of the data directory %s keeps no modes: whoever can reach it can read the node's keys", dir)}
	}
	var warnings []string
	if info, err := os.Stat(dir); err == nil {
		if info.Mode().Perm()&0o022 != 0 {
			warnings = append(warnings, fmt.Sprintf("others may write to the data directory %s (mode %#o), so they can give the node another identity: run chmod 700 %s", dir, info.Mode().Perm(), dir))
		}
		if whose := foreign(dir, info); whose != "" {
			warnings = append(warnings, whose)
		}
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o070 != 0 {
			warnings = append(warnings, fmt.Sprintf("%s is open to its group (mode %#o): run chmod 600 %s, unless that is meant", path, info.Mode().Perm(), path))
		}
	}
	return warnings
}
