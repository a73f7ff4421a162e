package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// lockMode is how a file is locked. The operating system gives a lock back when
// its process ends, however it ends.
type lockMode struct{ shared, wait bool }

var (
	exclusive    = lockMode{wait: true}
	tryExclusive = lockMode{}
	tryShared    = lockMode{shared: true}
)

// errLocked: another process has the lock that was not waited for.
var errLocked = errors.New("locked by another process")

const (
	nodeLock    = "node.lock"    // held by the node that runs on the directory
	runningFile = "running.json" // says where it is reached

	// A command that looks whether a node runs holds the lock for a moment, and a
	// service manager starts a node while the one before still ends.
	lockPatience = time.Second
	lockTick     = 20 * time.Millisecond
)

// ErrInUse is an InUseError to errors.Is.
var ErrInUse = errors.New("the data directory is in use")

// InUseError: another process runs a node on the data directory.
type InUseError struct {
	Dir   string
	Other *Running // nil where it has not said who it is
}

func (e *InUseError) Error() string {
	who := "another macula-node"
	if e.Other != nil {
		who = e.Other.String()
	}
	return fmt.Sprintf("the data directory %s is in use by %s: stop that one, or give this node a directory of its own", e.Dir, who)
}

// Is makes it an ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// Dir is a data directory on which this process runs a node.
type Dir struct {
	path string
	lock *os.File // nil where the directory can not be locked
	last *Running
	open string
	said bool // Publish was called
}

// Use makes a data directory, if there is none, and locks it until Close. Where
// another process has it the error is an InUseError. A directory that can not be
// locked, as it is read-only or on a file system without locks, is used all the
// same, see Unlocked; one that can not be entered is not.
func Use(path string) (*Dir, error) {
	if err := Make(path); err != nil {
		return nil, fmt.Errorf("make the data directory (choose one that this user may write to): %w", err)
	}
	d := &Dir{path: path}
	lock := filepath.Join(path, nodeLock)
	file, err := openLock(lock)
	switch _, wrong := errors.AsType[*notFileError](err); {
	case wrong:
		return nil, fmt.Errorf("lock the data directory: %w", err)
	case err != nil:
		switch _, statErr := os.Stat(lock); {
		case statErr == nil:
			return nil, fmt.Errorf("lock the data directory (does it belong to another user?): %w", err)
		case !errors.Is(statErr, fs.ErrNotExist):
			return nil, &NotWritableError{path, statErr}
		}
		d.open = err.Error()
		return d, nil
	}
	_ = file.Chmod(0o600) // whatever the umask; not every file system keeps modes
	switch err := lockWithin(file, lockPatience); {
	case errors.Is(err, errors.ErrUnsupported):
		d.open = err.Error()
		return d, file.Close()
	case errors.Is(err, errLocked):
		other, _ := readRunning(path) // it may be about to write it
		return nil, errors.Join(&InUseError{path, other}, file.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock the data directory %s: %w", path, err), file.Close())
	}
	d.lock = file
	d.last, _ = readRunning(path) // what can not be read is overwritten
	if d.last.answers() {         // its lock was removed under it
		return nil, errors.Join(&InUseError{path, d.last}, file.Close())
	}
	clean(path)
	return d, nil
}

// openLock opens the file of a lock, and makes it where there is none. What is no file, such
// as a symbolic link to one that may be anybody's, is a notFileError and stays as it is.
func openLock(path string) (*os.File, error) {
	there, err := os.Lstat(path)
	if err == nil && !there.Mode().IsRegular() {
		return nil, &notFileError{path, there.Mode()}
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, readOnly) || errors.Is(err, fs.ErrPermission) { // it can be locked all the same
		if readable, openErr := os.Open(path); openErr == nil {
			file, err = readable, nil
		}
	}
	if err != nil {
		return nil, err
	}
	opened, err := file.Stat()
	if err == nil {
		there, err = os.Lstat(path)
	}
	if err == nil && !os.SameFile(opened, there) { // it was replaced meanwhile
		err = &notFileError{path, there.Mode()}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// notFileError: what should be a file of ours is something else.
type notFileError struct {
	path string
	mode fs.FileMode
}

func (e *notFileError) Error() string {
	if e.mode&fs.ModeSymlink != 0 {
		return fmt.Sprintf("%s is a symbolic link, where the node makes a file of its own: remove it", e.path)
	}
	return fmt.Sprintf("%s is not the file that the node makes there (%s): remove it", e.path, e.mode)
}

func lockWithin(file *os.File, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(lockTick) {
		if err := lockFile(file, tryExclusive); !errors.Is(err, errLocked) || time.Now().After(deadline) {
			return err
		}
	}
}

// Unlocked says why the directory could not be locked, nothing where it is.
func (d *Dir) Unlocked() string { return d.open }

// Path returns the directory.
func (d *Dir) Path() string { return d.path }

// Last returns what a node that did not end in order has left, or nil.
func (d *Dir) Last() *Running { return d.last }

// Publish says to other processes of this user who runs here and where it is
// reached, in place of what was said before.
func (d *Dir) Publish(r Running) error {
	d.said = true
	if err := writeRunning(d.path, r); err != nil {
		return fmt.Errorf("say in the data directory that the node runs: %w", err)
	}
	return nil
}

// Withdraw takes back what was published.
func (d *Dir) Withdraw() error {
	if err := os.Remove(filepath.Join(d.path, runningFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Close withdraws what was published and unlocks the directory.
func (d *Dir) Close() (err error) {
	if d.said {
		err = d.Withdraw()
	}
	if d.lock == nil {
		return err
	}
	return errors.Join(err, d.lock.Close())
}

// Mark makes a file that says that a process works on the directory which it is in. It
// does so until it is unmarked, or the process has ended, however it did.
func Mark(path string) (unmark func() error, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(file, tryExclusive); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	return func() error { return errors.Join(os.Remove(path), file.Close()) }, nil
}

// IsAbandoned reports whether there is a mark whose process has ended. Where files can
// not be locked it is never so.
func IsAbandoned(path string) bool {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	return lockFile(file, tryExclusive) == nil
}

// isUsed reports whether a process has a data directory locked, or may have.
func isUsed(path string) bool {
	file, err := os.Open(filepath.Join(path, nodeLock))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer file.Close()
	return lockFile(file, tryShared) != nil
}
