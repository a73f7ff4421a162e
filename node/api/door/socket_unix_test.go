//go:build unix

package door

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// At no time does anybody else reach the socket in a data directory that is open to all.
func TestSocketIsNeverOpenToOthers(t *testing.T) {
	dir := shortTemp(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	before := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(before) })
	var looks sync.WaitGroup
	ended, opened := make(chan struct{}), make(chan string, 1)
	looks.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				return
			}
			for _, e := range entries {
				info, err := os.Lstat(filepath.Join(dir, e.Name()))
				if err == nil && info.Mode().Type()&(fs.ModeSocket|fs.ModeDir) != 0 && info.Mode().Perm()&0o077 != 0 {
					select {
					case opened <- e.Name() + " " + info.Mode().String():
					default:
					}
				}
			}
		}
	})
	for range 300 {
		s, err := ListenSocket(dir)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NoError(t, s.Remove())
	}
	close(ended)
	looks.Wait()
	select {
	case what := <-opened:
		require.FailNow(t, "others could have opened "+what)
	default:
	}
	requireEmpty(t, dir)
}

// What a node that was killed has left is cleared away, and what is not its own is not.
func TestSocketOfOneThatWasKilledAtItsStart(t *testing.T) {
	dir := shortTemp(t)
	apart := filepath.Join(dir, unnamedDir)
	require.NoError(t, os.Mkdir(apart, 0o700))
	s, err := ListenSocket(dir)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Remove())
	require.NoError(t, os.WriteFile(apart, nil, 0o600))
	_, err = ListenSocket(dir)
	require.ErrorContains(t, err, "is no directory (-rw-------): move it away")
	require.NoError(t, os.Remove(apart))
	require.NoError(t, os.Mkdir(apart, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(apart, "notes"), nil, 0o600))
	_, err = ListenSocket(dir)
	require.Error(t, err)
	require.FileExists(t, filepath.Join(apart, "notes"))
}
