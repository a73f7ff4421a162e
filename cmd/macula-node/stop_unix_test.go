//go:build unix

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A second signal ends a process that is stopping at once, and says what is not done.
func TestSecondSignal(t *testing.T) {
	for name, second := range map[string]os.Signal{"Ctrl-C": os.Interrupt, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			data, err := os.MkdirTemp("", "stop")
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(data) })
			p := startProcess(t, data)
			waitFor(t, "the banner", func() bool { return strings.Contains(p.stdout.String(), "Ctrl-C stops it.") })
			conn, err := net.Dial("unix", filepath.Join(data, "api.sock")) // which the stop waits for
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte("POST /v1/backup HTTP/1.1\r\nHost: n\r\n"))
			require.NoError(t, err)
			p.signal(t, syscall.SIGTERM)
			waitFor(t, "the stop", func() bool { return strings.Contains(p.stdout.String(), "Stopping.") })
			waitFor(t, "the end", func() bool { // a signal right after the first is the same one
				_ = p.Process.Signal(second)
				return strings.Contains(p.stderr.String(), "ended at once")
			})
			require.Equal(t, exitStopped, p.endedWithin(t, 500*time.Millisecond))
			require.Contains(t, p.stderr.String(), "ended at once by a second signal ("+second.String()+"); not done: ")
		})
	}
}

// A node whose store does not come to be read is ended by a signal.
func TestSignalDuringTheStart(t *testing.T) {
	data := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(data, "store"), 0o700))
	require.NoError(t, syscall.Mkfifo(filepath.Join(data, "store", "STORE.json"), 0o600)) // nobody writes to it
	p := startProcess(t, data)
	waitFor(t, "the start", func() bool { _, err := os.Stat(filepath.Join(data, "running.json")); return err == nil })
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, exitOK, p.endedWithin(t, 4*time.Second), "not ended by the watch over the stop")
	require.NotContains(t, p.stdout.String(), "serves")
	require.NoFileExists(t, filepath.Join(data, "running.json"))
}
