package interop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// TestGatewayComesAndGoes: a session with a gateway that takes few connections of
// an address outlives its stalls, and is back soon after its end. Whatever our
// node does there meanwhile, nothing of it is refused.
func TestGatewayComesAndGoes(t *testing.T) {
	t.Parallel()
	const (
		backWithin = 10 * time.Second // of its being up again
		stall      = 14 * time.Second // of daily life
	)
	inWorld(t, func(w *world) {
		g := w.glass(glass.RateLimited(glass.DefaultPerSource, glass.DefaultSourceTime, glass.DefaultPerSecond))
		n := w.node(g.Endpoint())
		inSession := func() bool { return len(n.Uplinks().Sessions()) == 1 }
		connects := func() int { return g.Stats().Frames[wire.TypeConnect] }
		w.eventually(inSession, "a session")

		for range 30 { // so that a PING falls into some, whenever it is
			before := g.Stats().Accepted
			g.Stall(stall)
			w.Pass(stall + 17*time.Second)
			require.True(w, inSession(), "a stall is no loss")
			require.LessOrEqual(w, g.Stats().Accepted-before, 1, "and at most one connection is made anew")
		}
		for range 5 {
			before := connects()
			require.NoError(w, g.Restart())
			up := time.Now()
			for connects() == before {
				require.Less(w, time.Since(up), backWithin, "it has joined again")
				_, err := n.Service().FindValues(w.Context(), maculadht.ServiceKey("be.cortexiq.test.greeter"))
				require.Error(w, err, "nobody has it, if somebody answered at all")
				time.Sleep(time.Second)
			}
			w.Pass(time.Minute)
			require.True(w, inSession())
		}
		require.NoError(w, g.NothingRefused())
		require.Empty(w, g.Broken())
		require.Empty(w, g.Lapses())
	})
}
