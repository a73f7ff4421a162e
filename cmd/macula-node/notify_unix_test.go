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

// A service manager is told when the node serves, that it lives, and that it stops.
func TestServiceManagerIsTold(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(3*patience)))
	told := func() string {
		buf := make([]byte, 4096)
		n, err := c.Read(buf)
		require.NoError(t, err)
		return string(buf[:n])
	}
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "100000")
	p := startProcess(t, filepath.Join(dir, "data"), "--api", "off")
	require.Equal(t, "READY=1\nSTATUS=serves the realm \"macula.default\"", told())
	waitFor(t, "the banner, which is printed before", func() bool { return strings.Contains(p.stdout.String(), "macula-node serves the realm") })
	for range 3 {
		require.Equal(t, "WATCHDOG=1", told())
	}
	p.signal(t, syscall.SIGTERM)
	said := told()
	for strings.HasPrefix(said, "WATCHDOG") {
		said = told()
	}
	require.Equal(t, "STOPPING=1\nSTATUS=stopping", said)
	require.Equal(t, exitOK, p.endedWithin(t, 5*time.Second))
}
