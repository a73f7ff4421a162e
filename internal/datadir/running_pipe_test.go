//go:build unix

package datadir

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Opening a pipe waits for who writes into it, who may never come.
func TestRunningFileThatIsAPipe(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, runningFile), 0o600))
	_, err := readRunning(dir)
	require.ErrorContains(t, err, "is no file")
}
