//go:build unix

package datadir

import (
	"io/fs"
	"syscall"
)

// ownerOf returns the user whom a file belongs to, where the system tells.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// noRoom are the errors of a disk that is full, or of a user's share of it.
var noRoom = []error{syscall.ENOSPC, syscall.EDQUOT}

// readOnly is the error of a file system that takes nothing.
var readOnly error = syscall.EROFS
