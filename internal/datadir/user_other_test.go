//go:build !linux

package datadir

import (
	"os"
	"runtime"
	"testing"
)

// unprivileged reports whether a test goes on: not where everything is allowed.
func unprivileged(t *testing.T) bool {
	t.Helper()
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("a superuser may write everywhere")
	}
	return true
}
