package datadir

import (
	"bufio"
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
