package datadir

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks a file until it is closed. The error is errLocked where another
// process has it.
func lockFile(file *os.File, mode lockMode) error {
	var flags uint32
	if !mode.shared {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	if !mode.wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	err := windows.LockFileEx(windows.Handle(file.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}
