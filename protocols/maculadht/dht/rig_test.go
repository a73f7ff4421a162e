package dht

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// newHandlers returns handlers on a routing server of their own.
func newHandlers(t testing.TB, opts ...Option) *Handlers {
	t.Helper()
	mux, err := server.NewMux()
	require.NoError(t, err)
	return newHandlersOn(t, mux, opts...)
}

func newHandlersOn(t testing.TB, mux *server.Mux, opts ...Option) *Handlers {
	t.Helper()
	routes, err := routing.NewServer(routing.ID{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, routes.Close()) })
	h, err := New(mux, routes, opts...)
	require.NoError(t, err)
	return h
}

// rig serves streams in memory with handlers.
type rig struct {
	*servertest.Rig

	handlers *Handlers
}

func newRig(t testing.TB, opts ...Option) *rig {
	t.Helper()
	h := newHandlers(t, opts...)
	return &rig{servertest.NewRig(t, h.Mux()), h}
}

// boundless returns a mux whose peers ask as much as they like.
func boundless(t testing.TB) *server.Mux {
	t.Helper()
	l := server.DefaultLimits()
	l.Accounts.Source.FrameRate, l.Accounts.Source.FrameBurst = 1e9, 1e9
	l.Accounts.Group = l.Accounts.Source.Times(4)
	mux, err := server.NewMux(server.WithLimits(l))
	require.NoError(t, err)
	return mux
}
