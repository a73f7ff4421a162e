package compat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// erlang is the double of an Erlang node that the dialer is tried on.
type erlang struct {
	*glass.Gateway
	tb testing.TB
}

// startErlang starts a node on an address such as "127.0.0.1:0".
func startErlang(tb testing.TB, address string) *erlang {
	tb.Helper()
	return startErlangWith(tb, glass.Listen(address))
}

func startErlangWith(tb testing.TB, opts ...glass.Option) *erlang {
	tb.Helper()
	g, err := glass.Start(opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return &erlang{g, tb}
}

// count returns how many frames of the types, or of any, came.
func (e *erlang) count(types ...wire.Type) (n int) {
	s := e.Stats()
	if len(types) == 0 {
		return s.Total()
	}
	for _, t := range types {
		n += s.Frames[t]
	}
	return n
}

// requireUnharmed requires that nothing was done that would harm a real node.
func (e *erlang) requireUnharmed(why ...any) {
	e.tb.Helper()
	require.Empty(e.tb, e.Broken(), why...)
	require.Empty(e.tb, e.Lapses(), why...)
}

// requireSpared requires that too, and that there was one frame a stream and
// every stream was finished with.
func (e *erlang) requireSpared() {
	e.tb.Helper()
	eventually(e.tb, func() bool { return e.Stats().Streams == 0 }, "every stream is finished with")
	e.requireUnharmed()
	require.Empty(e.tb, e.Lost(), "each receive event is a whole frame")
	require.Zero(e.tb, e.Stats().Reused, "one frame a stream")
}
