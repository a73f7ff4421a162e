//go:build unix

package supervised

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manager listens as systemd does.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_PID", "")
	return c
}

// told returns what the manager is told within a time; nothing where it is told nothing.
func told(t *testing.T, c *net.UnixConn, within time.Duration) string {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(within)))
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		require.ErrorContains(t, err, "timeout")
	}
	return string(buf[:n])
}

func TestNotifier(t *testing.T) {
	c := manager(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	n := New(slog.New(slog.DiscardHandler))
	n.Ready("serves the realm x", func() error { return nil })
	require.Equal(t, "READY=1\nSTATUS=serves the realm x", told(t, c, 10*time.Second))
	for range 3 {
		require.Equal(t, "WATCHDOG=1", told(t, c, 10*time.Second))
	}
	n.Stopping()
	for said := ""; said != "STOPPING=1\nSTATUS=stopping"; {
		said = told(t, c, 10*time.Second)
		require.NotEmpty(t, said)
	}
	n.Close()
}

// Who does not say how he is, or says that he is not, gives no sign of life, and gives one
// again when he does.
func TestNoSignOfLife(t *testing.T) {
	c := manager(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	calls, hang := make(chan error), make(chan struct{})
	n := New(slog.New(slog.DiscardHandler))
	n.Ready("", func() error {
		select {
		case err := <-calls:
			return err
		case <-hang:
			return nil
		}
	})
	require.Equal(t, "READY=1\nSTATUS=", told(t, c, 10*time.Second))
	require.Empty(t, told(t, c, 100*time.Millisecond), "it hangs")
	calls <- errors.New("a disk that hangs")
	require.Empty(t, told(t, c, 100*time.Millisecond), "it is not well")
	calls <- nil
	require.Equal(t, "WATCHDOG=1", told(t, c, 10*time.Second))
	n.Close()
	close(hang)
}

// Without a service manager, or with one that does not want them, there are no signs of life.
func TestNobodyListens(t *testing.T) {
	for name, watchdog := range map[string]string{"no manager": "20000", "no watchdog": "", "another's": "x"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", "")
			t.Setenv("WATCHDOG_USEC", watchdog)
			n := New(slog.New(slog.DiscardHandler))
			n.Ready("", func() error { return nil })
			n.Stopping()
			n.Close()
		})
	}
}
