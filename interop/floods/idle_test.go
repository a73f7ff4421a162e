package floods

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/conns"
)

// Connections that do nothing, more than there is room for, from one address that honest
// clients have too: those that come connect, and those that ask now and then stay.
func TestNeighboursOfAnAttacker(t *testing.T) {
	const address = "127.10.0.1"
	to := startTarget(t, conns.Limits{Memory: conns.MinMemory})
	n := whenLong(4096, 160)
	ctx, cancel := context.WithTimeout(t.Context(), whenLong(10*time.Minute, time.Minute))
	defer cancel()
	here, err := newSource(address)
	require.NoError(t, err)
	t.Cleanup(here.close)
	var stay []*quic.Stream
	for _, as := range []kind{libp2p, erlang} {
		conn, err := here.dial(ctx, to, as, nil)
		require.NoError(t, err)
		s, err := open(ctx, conn, as)
		require.NoError(t, err)
		stay = append(stay, s)
	}
	attacker, err := newSource(address)
	require.NoError(t, err)
	t.Cleanup(attacker.close)
	for i := range n {
		_, err := attacker.dial(ctx, to, kind(i%2), &quic.Config{KeepAlivePeriod: 5 * time.Second})
		require.NoError(t, err, "connection %d", i)
		if i%16 > 0 {
			continue
		}
		for _, s := range stay {
			answer, err := ask(ctx, s, &wire.FindNode{Target: []byte("k")})
			require.NoError(t, err, "who stays, at connection %d", i)
			require.Equal(t, wire.TypeFindNodeReply, answer.Type())
		}
	}
	came := measureBy(whenLong(200, 20), func(as kind) (time.Duration, error) {
		return probeFrom(ctx, address, to, as, &wire.Ping{})
	})
	t.Logf("beside %d idle connections of the same address: %v", n, came)
	require.Zero(t, came.failed)
}

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
