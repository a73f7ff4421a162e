package datadir

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := RunningIn(dir)
	require.ErrorIs(t, err, ErrNotRunning)
	require.NoDirExists(t, dir, "looking makes nothing")

	d, err := Use(dir)
	require.NoError(t, err)
	defer d.Close()
	want := Running{PID: 7, Started: time.Now().UTC().Truncate(time.Second), PeerID: "p", Realm: "r"}
	require.NoError(t, d.Publish(want))
	_, err = RunningIn(dir)
	require.ErrorIs(t, err, ErrNotRunning)
	require.ErrorContains(t, err, "starts or stops")

	want.Addrs, want.Endpoint, want.Bootstrap = []string{"/a", "/b"}, "https://127.0.0.1:1", []string{"/c"}
	require.NoError(t, d.Publish(want))
	got, err := RunningIn(dir)
	require.NoError(t, err)
	require.Equal(t, &want, got)
	if hasModes {
		info, err := os.Stat(filepath.Join(dir, runningFile))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	require.NoError(t, os.WriteFile(filepath.Join(dir, runningFile), []byte("{"), 0o600))
	_, err = RunningIn(dir)
	require.ErrorContains(t, err, runningFile)
	require.NotErrorIs(t, err, ErrNotRunning)

	require.NoError(t, d.Withdraw())
	require.NoError(t, d.Withdraw(), "there is nothing to take back")
	_, err = RunningIn(dir)
	require.ErrorIs(t, err, ErrNotRunning)
}
