package compattest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// Erlang is the double of an Erlang node that the dialer is tried on.
type Erlang struct {
	*glass.Gateway
	tb testing.TB
}

// StartErlang starts a node on an address such as "127.0.0.1:0".
func StartErlang(tb testing.TB, address string) *Erlang {
	tb.Helper()
	return StartErlangWith(tb, glass.Listen(address))
}

// StartErlangWith starts a node of another kind.
func StartErlangWith(tb testing.TB, opts ...glass.Option) *Erlang {
	tb.Helper()
	g, err := glass.Start(opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return &Erlang{g, tb}
}

// Count returns how many frames of the types, or of any, came.
func (e *Erlang) Count(types ...wire.Type) (n int) {
	s := e.Stats()
	if len(types) == 0 {
		return s.Total()
	}
	for _, t := range types {
		n += s.Frames[t]
	}
	return n
}

// RequireUnharmed requires that nothing was done that would harm a real node.
func (e *Erlang) RequireUnharmed(why ...any) {
	e.tb.Helper()
	require.Empty(e.tb, e.Broken(), why...)
	require.Empty(e.tb, e.Lapses(), why...)
}

// RequireSpared requires that too, and that there was one frame a stream and
// every stream was finished with.
func (e *Erlang) RequireSpared() {
	e.tb.Helper()
	Eventually(e.tb, func() bool { return e.Stats().Streams == 0 }, "every stream is finished with")
	e.RequireUnharmed()
	require.Empty(e.tb, e.Lost(), "each receive event is a whole frame")
	require.Zero(e.tb, e.Stats().Reused, "one frame a stream")
}
