// Package virtualtest is a simulated network in virtual time, in which tests of
// whole nodes have the times of daily life.
package virtualtest

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marcopolo/simnet"
)

// World is a simulated network, and the test that it is in.
type World struct {
	*testing.T
	net   *simnet.Simnet
	hosts int
}

// Run runs a test in a world where a packet takes so long between two hosts.
func Run(t *testing.T, oneWay time.Duration, test func(w *World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &World{T: t, net: &simnet.Simnet{
			LatencyFunc: simnet.StaticLatency(oneWay),
			Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
		}}
		w.net.Start()
		t.Cleanup(w.net.Close)
		test(w)
	})
}

// NextHost returns the address and port of a host that nobody has yet.
func (w *World) NextHost() string {
	w.hosts++
	return net.JoinHostPort(simnet.IntToPublicIPv4(w.hosts).String(), "9443")
}

// Listen opens a port of a host, and takes the place of what was there.
func (w *World) Listen(address string) (net.PacketConn, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	link := simnet.LinkSettings{BitsPerSecond: 1000 * simnet.Mibps}
	return w.net.NewEndpoint(addr, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}), nil
}

// Pass lets virtual time go on.
func (w *World) Pass(d time.Duration) { time.Sleep(d); synctest.Wait() }
