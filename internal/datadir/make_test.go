//go:build unix

package datadir

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Whatever umask the process was started with, what is made is its owner's.
func TestModesWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o177} {
		dir := filepath.Join(t.TempDir(), "made", "here")
		func() {
			defer unix.Umask(unix.Umask(umask))
			d, err := Use(dir)
			require.NoError(t, err)
			defer d.Close()
			require.NoError(t, CreatePrivate(filepath.Join(dir, "secret"), []byte("s")))
			require.NoError(t, d.Publish(Running{PID: 1}))
			require.NoError(t, MakePrivate(filepath.Join(dir, "inside")))
			requireModes(t, dir)
			require.Equal(t, fs.FileMode(0o700), modeOf(t, filepath.Dir(dir)))
		}()
	}
}

// requireModes checks that nobody but the owner can reach what is in a directory.
func requireModes(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		require.Equal(t, want, modeOf(t, path), path)
		return nil
	}))
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

func TestMakePrivateMends(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, Make(dir))
	require.Equal(t, fs.FileMode(0o755), modeOf(t, dir), "it may be the user's own")
	require.NoError(t, MakePrivate(dir))
	require.Equal(t, fs.FileMode(0o700), modeOf(t, dir))
}

// A writer that was killed has left its file behind, which may hold a key.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-2 * leftoverAge)
	stay := map[string]bool{"identity.key.123.tmp": false, "running.json.9.tmp": false, "own.tmp": true, "tls.pem": true, "new.4.tmp": true}
	for name := range stay {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		if name != "new.4.tmp" { // somebody may be writing it
			require.NoError(t, os.Chtimes(path, long, long))
		}
	}
	d, err := Use(dir)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	for name, stays := range stay {
		_, err := os.Stat(filepath.Join(dir, name))
		require.Equal(t, stays, err == nil, name)
	}
}

func TestNotWritable(t *testing.T) {
	require.NoError(t, CheckWritable(t.TempDir()))
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"full":      {&fs.PathError{Op: "write", Path: "f", Err: unix.ENOSPC}, []string{"no room for the data directory /d", "free some"}},
		"quota":     {unix.EDQUOT, []string{"no room for the data directory /d"}},
		"read-only": {unix.EROFS, []string{"/d is on a read-only file system", "mount it for writing"}},
		"broken":    {unix.EIO, []string{"nothing can be written to the data directory /d", "input/output error"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := &NotWritableError{"/d", test.err}
			require.ErrorIs(t, err, test.err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer file.Close()
	_, err = file.Write([]byte("x"))
	require.ErrorContains(t, &NotWritableError{"/d", err}, "no room", "what the system says is understood")
}

func TestNotWritableToThisUser(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	err := CheckWritable(dir)
	var not *NotWritableError
	require.ErrorAs(t, err, &not)
	require.ErrorContains(t, err, "may not write to the data directory "+dir+", which belongs to the uid ")
	require.ErrorContains(t, err, "(mode 0500): run chmod u+rwx "+dir+", or choose another")
}

// What can not be entered is refused with whose it is.
func TestDirectoryOfAnother(t *testing.T) {
	dir := os.Getenv(asNobody)
	if os.Geteuid() == 0 {
		above, err := os.MkdirTemp("", "datadir")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(above) })
		require.NoError(t, os.Chmod(above, 0o755))
		dir = filepath.Join(above, "data")
		require.NoError(t, os.Mkdir(dir, 0o700))
		t.Setenv(asNobody, dir)
	}
	if !unprivileged(t) {
		return
	}
	if dir == "" {
		t.Skip("only root can make a directory of another user")
	}
	_, err := Use(dir)
	require.ErrorContains(t, err, "may not write to the data directory "+dir+", which belongs to the uid 0 (mode 0700): run as its owner, or choose another")
}

func TestWarningOfAnothersDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to another user")
	}
	dir := t.TempDir()
	require.Empty(t, Warnings(dir))
	require.NoError(t, os.Chown(dir, 4711, -1))
	warnings := Warnings(dir)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], dir+" belongs to the uid 4711, and this node runs as root")
	require.Contains(t, warnings[0], "chown -R 0 "+dir)
}
