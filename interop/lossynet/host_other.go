//go:build !linux

package lossynet

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
)

// ErrNotPermitted: this system has no network namespaces.
var ErrNotPermitted = errors.New("lossynet: there are no network namespaces here")

// Host is a network namespace, which there is none of here.
type Host struct{ Addr netip.Addr }

// NewHost fails with ErrNotPermitted.
func NewHost(*Switch, netip.Prefix) (*Host, error) { return nil, ErrNotPermitted }

// Close does nothing.
func (*Host) Close() error { return nil }

// Start fails with ErrNotPermitted.
func (*Host) Start(*exec.Cmd) error { return ErrNotPermitted }

// ListenUDP fails with ErrNotPermitted.
func (*Host) ListenUDP(uint16) (*net.UDPConn, error) { return nil, ErrNotPermitted }
