package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A data directory that can not be written to is refused with what to do, which is
// done then: in memory a node runs on it.
func TestDirectoryThatCanNotBeWrittenTo(t *testing.T) {
	above, err := os.MkdirTemp("", "macula")
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = os.Chmod(filepath.Join(above, "data"), 0o700)
		os.RemoveAll(above)
	})
	data := filepath.Join(above, "data")
	require.NoError(t, os.Chmod(above, 0o755))
	r, _ := started(t, "--data-dir", data, "--ephemeral")
	r.stopped(t)
	credential := &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()), NoSetGroups: true}
	if os.Geteuid() == 0 { // who may write everywhere
		credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		require.NoError(t, os.Remove(filepath.Join(data, "node.lock")))
		for _, name := range []string{"identity.key", "tls.pem"} {
			require.NoError(t, os.Chown(filepath.Join(data, name), 65534, 65534))
		}
	}
	require.NoError(t, os.Chmod(data, 0o555))
	run := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, args...)...)
		cmd.Dir, cmd.Env = "/", append(os.Environ(), beMain+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return cmd
	}
	out, err := run().CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	require.True(t, ok, "%v: %s", err, out)
	require.Equal(t, exitUsage, exit.ExitCode())
	require.Contains(t, string(out), "may not write to the data directory "+data)
	require.Contains(t, string(out), "with --ephemeral (MACULA_EPHEMERAL) the node keeps its records in memory only")

	cmd := run("--ephemeral")
	var stdout, stderr buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	waitFor(t, "the banner", func() bool { return strings.Contains(stdout.String(), "Ctrl-C stops it.") || len(ended) > 0 })
	require.Empty(t, ended, stderr.String())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, <-ended)
}

// A node that stands still is copied from where nothing can be written to.
func TestBackupOfADirectoryThatCanNotBeWrittenTo(t *testing.T) {
	above, err := os.MkdirTemp("", "macula")
	require.NoError(t, err)
	data, store, out := filepath.Join(above, "data"), filepath.Join(above, "data", "store"), filepath.Join(above, "out")
	t.Cleanup(func() {
		_ = os.Chmod(data, 0o700)
		_ = os.Chmod(store, 0o700)
		os.RemoveAll(above)
	})
	require.NoError(t, os.Chmod(above, 0o755))
	r, s := started(t, "--data-dir", data)
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "k", provider).code)
	r.stopped(t)
	require.NoError(t, os.Mkdir(out, 0o700))
	credential := &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()), NoSetGroups: true}
	if os.Geteuid() == 0 { // who may write everywhere
		credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		require.NoError(t, filepath.WalkDir(above, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, 65534, 65534))
		}))
	}
	require.NoError(t, filepath.WalkDir(data, func(path string, e os.DirEntry, err error) error {
		if !e.IsDir() {
			err = errors.Join(err, os.Chmod(path, 0o400))
		}
		return err
	}))
	require.NoError(t, os.Chmod(store, 0o500))
	require.NoError(t, os.Chmod(data, 0o500))
	dir := filepath.Join(out, "copy")
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "backup", "--data-dir", data, dir)
	cmd.Dir, cmd.Env = "/", append(os.Environ(), beMain+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.Contains(t, string(said), "backup of the identity and records in "+dir)
	if os.Geteuid() == 0 {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, 0, 0))
		}))
	}
	_, again := started(t, "--data-dir", dir)
	require.Equal(t, s.PeerID, again.PeerID)
	require.Equal(t, exitOK, macula(t, "get", "--data-dir", dir, "k").code)
}
