package negative

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestMissesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Cache
		at := func(i int) Miss { return Miss{Key: routing.IDFromBytes(fmt.Append(nil, i))} }
		for i := range 3 * maxMisses {
			c.Add(at(i), time.Now())
			c.Add(at(i), time.Now()) // by another lookup
			require.LessOrEqual(t, len(c.until), maxMisses)
			require.Len(t, c.order, len(c.until))
		}
		has := func(what Miss) bool {
			done, err := c.Begin(t.Context(), what)
			require.NoError(t, err)
			if done != nil {
				done()
			}
			return done == nil
		}
		require.False(t, has(at(0)), "the oldest go")
		require.True(t, has(at(3*maxMisses-1)))
		time.Sleep(TTL)
		c.Add(at(1), time.Now())
		require.Len(t, c.until, 1, "what is over is forgotten")
	})
}
