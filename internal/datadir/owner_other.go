//go:build !unix && !windows

package datadir

import (
	"errors"
	"io/fs"
)

// ownerOf: here nobody tells.
func ownerOf(fs.FileInfo) (uid int, ok bool) { return 0, false }

// noRoom and readOnly: here errors have no names that are known.
var (
	noRoom   []error
	readOnly = errors.ErrUnsupported
)
