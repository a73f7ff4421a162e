//go:build unix

package main

import "syscall"

// keepPrivate has all files that this program makes be its user's alone, those of the
// libraries too.
func keepPrivate() { syscall.Umask(0o077) }
