package floods

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/conns"
)

// Connections that do nothing, from 16 networks, as many as there are places and more: all
// honest clients connect, what the connections cost stays within its budget, and it is given
// back when they have gone.
func TestIdleConnections(t *testing.T) {
	limits := conns.Limits{Memory: conns.MinMemory}
	to := startTarget(t, limits)
	n, probed := whenLong(4096, 160), whenLong(200, 20)
	calm := measure(t, to, probed)
	before := to.resident(t)

	from := sources(t, 16)
	var made atomic.Int64
	open := make(chan *quic.Conn, n)
	atOnce(n, 8, func(i int) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := from[i%len(from)].dial(ctx, to, kind(i/len(from)%2), &quic.Config{KeepAlivePeriod: 5 * time.Second})
		if err != nil {
			return
		}
		made.Add(1)
		if !*long { // they vanish in the long form, which is seen after 30 s
			open <- conn
		}
	})
	attacked := measure(t, to, probed)
	during := to.resident(t)
	close(open)
	for conn := range open {
		_ = conn.CloseWithError(0, "")
	}
	for _, s := range from {
		s.close()
	}
	ended := time.Now()
	var after int64
	require.Eventually(t, func() bool {
		after = to.resident(t)
		return after <= before+whenLong[int64](64*mib, mib/2)
	}, time.Minute, whenLong(time.Second, tick), "the memory is given back")
	t.Logf("calm: %v", calm)
	t.Logf("%d idle connections: %v", made.Load(), attacked)
	t.Logf("memory: %d MiB before, %d during, %d after %v", before/mib, during/mib, after/mib, time.Since(ended).Round(time.Second))
	require.Zero(t, attacked.failed)
	require.LessOrEqual(t, during, whenLong(processMemory, limits.Memory))
}
