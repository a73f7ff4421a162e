package glass_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// A gateway that stalls for 14 s answers after them.
func TestStall(t *testing.T) {
	inWorld(t, func(w *world) {
		g := w.start()
		c := w.dial(g)
		c.ask(&wire.Ping{})
		begun := time.Now()
		g.Stall(14 * time.Second)
		c.ask(&wire.Ping{})
		require.GreaterOrEqual(w, time.Since(begun), 14*time.Second)
		require.Less(w, time.Since(begun), 15*time.Second)
		require.Empty(w, g.Broken())
	})
}
