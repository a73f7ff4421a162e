//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package datadir

import (
	"errors"
	"os"
)

// lockFile: here files can not be locked.
func lockFile(*os.File, lockMode) error { return errors.ErrUnsupported }
