package datadir

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startNode starts a process that uses a data directory.
func startNode(t *testing.T, dir string) *os.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beNode+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", line)
	return cmd.Process
}

func TestOneNodeADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	first := startNode(t, dir)

	_, err := Use(dir)
	var inUse *InUseError
	require.ErrorAs(t, err, &inUse)
	require.NotNil(t, inUse.Other)
	require.Equal(t, first.Pid, inUse.Other.PID)
	require.ErrorContains(t, err, dir)

	require.NoError(t, first.Kill()) // as a crash, or no electricity
	_, err = first.Wait()
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, runningFile))
	_, err = RunningIn(dir)
	require.ErrorIs(t, err, ErrNotRunning)
	require.ErrorContains(t, err, "without a stop")

	d, err := Use(dir)
	require.NoError(t, err)
	require.Empty(t, d.Unlocked())
	require.Equal(t, first.Pid, d.Last().PID)
	require.NoError(t, d.Close())
	require.FileExists(t, filepath.Join(dir, runningFile), "who has said nothing takes nothing back")

	d, err = Use(dir)
	require.NoError(t, err)
	require.NoError(t, d.Publish(Running{PID: os.Getpid()}))
	require.NoError(t, d.Close())
	require.NoFileExists(t, filepath.Join(dir, runningFile))

	d, err = Use(dir)
	require.NoError(t, err)
	require.Nil(t, d.Last(), "that one stopped in order")
	require.NoError(t, d.Close())
}

// A node whose lock was removed is found by its socket, by who starts another and by the
// commands, until it has ended.
func TestLockRemovedUnderANode(t *testing.T) {
	dir, err := os.MkdirTemp("", "macula") // the path of a socket has to be short
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	d, err := Use(dir)
	require.NoError(t, err)
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	says := Running{PID: os.Getpid(), Addrs: []string{"a"}, Socket: listener.Addr().String()}
	require.NoError(t, d.Publish(says))
	require.NoError(t, os.Remove(filepath.Join(dir, nodeLock)))

	_, err = Use(dir)
	var inUse *InUseError
	require.ErrorAs(t, err, &inUse)
	require.Equal(t, &says, inUse.Other)
	there, err := RunningIn(dir)
	require.NoError(t, err)
	require.Equal(t, &says, there)

	require.NoError(t, listener.Close())
	_, err = RunningIn(dir)
	require.ErrorIs(t, err, ErrNotRunning)
	again, err := Use(dir)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoError(t, d.Close())
}

// What a link in the place of the lock leads to is left alone, and so is what else is there.
func TestLockIsAFileOfOurs(t *testing.T) {
	for name, put := range map[string]func(t *testing.T, target, lock string){
		"link":            func(t *testing.T, target, lock string) { require.NoError(t, os.Symlink(target, lock)) },
		"link to nowhere": func(t *testing.T, target, lock string) { require.NoError(t, os.Symlink(target+".none", lock)) },
		"directory":       func(t *testing.T, _, lock string) { require.NoError(t, os.Mkdir(lock, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			target, dir := filepath.Join(t.TempDir(), "target"), t.TempDir()
			require.NoError(t, os.WriteFile(target, []byte("theirs"), 0o644))
			before, err := os.Stat(target)
			require.NoError(t, err)
			put(t, target, filepath.Join(dir, nodeLock))
			_, err = Use(dir)
			require.ErrorContains(t, err, filepath.Join(dir, nodeLock))
			require.ErrorContains(t, err, "remove it")
			after, err := os.Stat(target)
			require.NoError(t, err)
			require.Equal(t, before.Mode(), after.Mode())
			require.NoFileExists(t, target+".none")
		})
	}
}

// Who looks whether a node runs holds the lock for a moment, in which a node may
// start.
func TestALookKeepsNobodyFromStarting(t *testing.T) {
	dir := t.TempDir()
	d, err := Use(dir)
	require.NoError(t, err)
	require.NoError(t, d.Close())

	file, err := os.Open(filepath.Join(dir, nodeLock))
	require.NoError(t, err)
	require.NoError(t, lockFile(file, tryShared))
	time.AfterFunc(100*time.Millisecond, func() { file.Close() })
	d, err = Use(dir)
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func TestDirectoryThatCanNotBeLocked(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	d, err := Use(dir)
	require.NoError(t, err)
	require.Contains(t, d.Unlocked(), dir)
	require.NoError(t, d.Close())
}

func TestDirectoryThatCanNotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Use(filepath.Join(file, "data"))
	require.ErrorContains(t, err, file)
}
