package lossynet

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// hosts makes hosts on a switch, or skips the test where that is not permitted.
func hosts(t *testing.T, s *Switch, addrs ...netip.Addr) (all []*Host) {
	t.Helper()
	for _, addr := range addrs {
		h, err := NewHost(s, netip.PrefixFrom(addr, 24))
		if errors.Is(err, ErrNotPermitted) {
			t.Skip(err)
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = h.Close() })
		all = append(all, h)
	}
	return all
}

func TestHosts(t *testing.T) {
	s := New(1)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	const delay = 20 * time.Millisecond
	require.NoError(t, s.Set(Conditions{Delay: delay}))
	h := hosts(t, s, alice, bob)
	a, err := h[0].ListenUDP(0)
	require.NoError(t, err)
	defer a.Close()
	b, err := h[1].ListenUDP(9443)
	require.NoError(t, err)
	defer b.Close()

	for _, c := range []*net.UDPConn{a, b} {
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	}
	start := time.Now()
	_, err = a.WriteToUDPAddrPort([]byte("hello"), netip.AddrPortFrom(bob, 9443))
	require.NoError(t, err)
	buffer := make([]byte, 100)
	n, from, err := b.ReadFromUDPAddrPort(buffer)
	require.NoError(t, err)
	require.Equal(t, "hello", string(buffer[:n]))
	require.Equal(t, alice, from.Addr())
	_, err = b.WriteToUDPAddrPort(buffer[:n], from)
	require.NoError(t, err)
	_, _, err = a.ReadFromUDPAddrPort(buffer)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), 2*delay)

	_, err = a.WriteToUDPAddrPort([]byte("out"), netip.MustParseAddrPort("192.0.2.1:9"))
	require.ErrorIs(t, err, unix.ENETUNREACH, "there is no way out")
	own, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(alice, 0)))
	if err == nil {
		own.Close()
	}
	require.ErrorIs(t, err, unix.EADDRNOTAVAIL, "this thread is where it was")
}

// A command sees the devices of its host alone.
func TestStart(t *testing.T) {
	s := New(1)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	h := hosts(t, s, alice)
	var out strings.Builder
	cmd := exec.Command("cat", "/proc/self/net/dev")
	cmd.Stdout = &out
	require.NoError(t, h[0].Start(cmd))
	require.NoError(t, cmd.Wait())
	var devices []string
	for line := range strings.Lines(out.String()) {
		if name, _, is := strings.Cut(line, ":"); is {
			devices = append(devices, strings.TrimSpace(name))
		}
	}
	require.ElementsMatch(t, []string{"lo", deviceName}, devices)
}

// Nothing is left of a host when it and its switch are closed.
func TestNothingIsLeft(t *testing.T) {
	s := New(1)
	h := hosts(t, s, alice)
	var namespace, ours unix.Stat_t
	require.NoError(t, unix.Fstat(int(h[0].namespace.Fd()), &namespace))
	require.NoError(t, unix.Stat("/proc/self/ns/net", &ours))
	require.NotEqual(t, namespace.Ino, ours.Ino)
	require.NoError(t, s.Close())
	require.NoError(t, h[0].Close())
	isUsed := func() bool {
		tasks, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
		require.NoError(t, err)
		files, err := filepath.Glob("/proc/self/fd/*")
		require.NoError(t, err)
		for _, name := range append(tasks, files...) {
			var of unix.Stat_t // of what it leads to; who has ended meanwhile has none
			if unix.Stat(name, &of) == nil && of.Ino == namespace.Ino && of.Dev == namespace.Dev {
				return true
			}
		}
		return false
	}
	require.Eventually(t, func() bool { return !isUsed() }, 10*time.Second, 10*time.Millisecond, "the threads that were in it end")
}
