package door

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSocketOfOneThatWasKilled(t *testing.T) {
	dir := shortTemp(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	require.NoError(t, err)
	_, err = ListenSocket(dir)
	require.ErrorIs(t, err, ErrInUse, "it answers")
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())

	s, err := ListenSocket(dir)
	require.NoError(t, err)
	info, err := os.Stat(s.Path())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, s.Close())
	require.NoError(t, s.Remove())
	requireEmpty(t, dir)

	require.NoError(t, os.WriteFile(filepath.Join(dir, socketName), nil, 0o600))
	_, err = ListenSocket(dir)
	require.ErrorContains(t, err, "is no socket (-rw-------): move it away")
}

// A path that no socket can have is replaced by a short one.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(shortTemp(t), strings.Repeat("long", 30))
	require.NoError(t, os.Mkdir(dir, 0o700))
	temp := shortTemp(t)
	t.Setenv("TMPDIR", temp)
	s, err := ListenSocket(dir)
	require.NoError(t, err)
	require.LessOrEqual(t, len(s.Path()), maxPath)
	require.True(t, strings.HasPrefix(s.Path(), temp))
	info, err := os.Stat(filepath.Dir(s.Path()))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, s.Close())
	require.NoError(t, s.Remove())
	requireEmpty(t, temp)

	killed, err := ListenSocket(dir) // and its files stay
	require.NoError(t, err)
	require.NoError(t, killed.Close())
	RemoveLast(filepath.Join(temp, "other", socketName)) // nothing of ours
	RemoveLast(killed.path)
	requireEmpty(t, temp)

	t.Setenv("TMPDIR", dir)
	_, err = ListenSocket(dir)
	require.ErrorContains(t, err, "have more than 103 bytes: name a shorter data directory")
	requireEmpty(t, dir)
}
