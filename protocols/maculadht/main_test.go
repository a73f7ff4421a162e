package maculadht

import (
	"flag"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m)
}

// newService starts the protocol on h.
func newService(tb testing.TB, h host.Host, opts ...Option) *Service {
	tb.Helper()
	s, err := New(h, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// frames limits what a peer may ask: frames a second, and at once.
func frames(limit rate.Limit, burst int) Option {
	l := DefaultLimits()
	l.Accounts.Source.FrameRate, l.Accounts.Source.FrameBurst = limit, burst
	l.Accounts.Group.FrameRate = max(limit, l.Accounts.Group.FrameRate)
	return WithLimits(l)
}

func newClient(tb testing.TB, h host.Host, opts ...client.Option) *client.Client {
	tb.Helper()
	c, err := client.New(h, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}
