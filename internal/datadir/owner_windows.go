package datadir

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// ownerOf: a Windows file's owner is no number, and who may read it is not asked.
func ownerOf(fs.FileInfo) (uid int, ok bool) { return 0, false }

// noRoom are the errors of a disk that is full, or of a user's share of it.
var noRoom = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}

// readOnly is the error of a file system that takes nothing.
var readOnly error = windows.ERROR_WRITE_PROTECT
