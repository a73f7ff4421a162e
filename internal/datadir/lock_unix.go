//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package datadir

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks a file until it is closed. Errors are errLocked, and
// errors.ErrUnsupported where the file system has no locks.
func lockFile(file *os.File, mode lockMode) error {
	how := unix.LOCK_EX
	if mode.shared {
		how = unix.LOCK_SH
	}
	if !mode.wait {
		how |= unix.LOCK_NB
	}
	for {
		switch err := unix.Flock(int(file.Fd()), how); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EINVAL):
			return errors.Join(err, errors.ErrUnsupported)
		default:
			return err
		}
	}
}
