package lossynet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrNotPermitted: this process may not make network namespaces, or tun devices in them.
var ErrNotPermitted = errors.New("lossynet: network namespaces and tun devices are not permitted here")

// Host is a network namespace with an address on a tun device, and loopback. Its methods
// are safe for concurrent use.
type Host struct {
	// Addr is its address.
	Addr netip.Addr

	namespace, device *os.File
}

// deviceName is that of each host's device, in its own namespace.
const deviceName = "lossy0"

// NewHost makes a host that reaches the addresses of a network, of which addr is its own,
// over a switch, and nothing else. Its device is the switch's from here on.
func NewHost(s *Switch, addr netip.Prefix) (*Host, error) {
	h := &Host{Addr: addr.Addr()}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if h.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if h.device, err = openTun(deviceName); err != nil {
			return fmt.Errorf("make a tun device: %w", err)
		}
		return errors.Join(configure("lo", netip.Prefix{}), configure(deviceName, addr))
	})
	if err == nil {
		if err = s.Attach(h.Addr, h.device); err == nil {
			return h, nil
		}
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENODEV) {
		err = fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	if h.device != nil {
		err = errors.Join(err, h.device.Close())
	}
	return nil, errors.Join(err, h.Close())
}

// Close lets go of the namespace, which is gone with the last process and socket in it.
func (h *Host) Close() error {
	if h.namespace == nil {
		return nil
	}
	return h.namespace.Close()
}

// Start starts a command within the host.
func (h *Host) Start(cmd *exec.Cmd) error { return h.within(cmd.Start) }

// ListenUDP opens a port of the host, 0 for any one, which this process uses from wherever
// it likes.
func (h *Host) ListenUDP(port uint16) (conn *net.UDPConn, err error) {
	err = h.within(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Addr, port)))
		return err
	})
	return conn, err
}

// within runs f on a thread that is in the host's namespace.
func (h *Host) within(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the namespace of %v: %w", h.Addr, err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own, which ends with it: nothing else ever runs in
// the namespace that f has put it into.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and is never unlocked
		done <- f()
	}()
	return <-done
}

// openTun makes a device of which each Read and Write is an IP packet.
func openTun(name string) (*os.File, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil // not before it is a device: it could not be waited for
}

// configure gives a device an address, where there is one, and has it be up.
func configure(name string, addr netip.Prefix) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("configure %s: %w", name, err)
		}
	}()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ask := func(what uint, set func(*unix.Ifreq) error) error {
		request, err := unix.NewIfreq(name)
		if err == nil {
			err = set(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, what, request)
		}
		return err
	}
	if addr.IsValid() {
		mask := net.CIDRMask(addr.Bits(), 32)
		if err := errors.Join(
			ask(unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(addr.Addr().AsSlice()) }),
			ask(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }),
		); err != nil {
			return err
		}
	}
	return ask(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	})
}
