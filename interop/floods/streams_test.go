package floods

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/conns"
)

// few is the configuration of who takes little at a time.
func few() *quic.Config {
	const window = 4 << 10
	return &quic.Config{
		KeepAlivePeriod:            5 * time.Second,
		InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
		InitialConnectionReceiveWindow: window, MaxConnectionReceiveWindow: window,
	}
}

// Peers that hold every stream that they may, ask on each of them for long answers and read
// none, of both protocols, from one address and from 16: honest clients get connections,
// streams and answers, and what it costs stays within the budget.
func TestStreamsThatAreHeld(t *testing.T) {
	for _, addresses := range []int{1, 16} {
		t.Run(fmt.Sprintf("%d addresses", addresses), func(t *testing.T) {
			limits := conns.Limits{Memory: conns.MinMemory, Buffered: conns.MinMemory}
			to := startTarget(t, limits)
			peers, each, probed := whenLong(20, 16), whenLong(300, 24), whenLong(200, 20)
			key := []byte("what is long")
			storeLong(t, to, key)
			question := &wire.FindValue{Key: key}
			asks := frames(t, 200, question)
			calm := measureAsking(t, to, probed, question)
			before := to.resident(t)

			from := sources(t, addresses)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var held atomic.Int64
			var attacked figures
			var most int64
			hold := func(i int) {
				as := kind(i % 2)
				dialled, cancel := context.WithTimeout(ctx, patience)
				defer cancel()
				conn, err := from[i%len(from)].dial(dialled, to, as, few())
				if err != nil {
					return
				}
				for range each {
					opened, cancel := context.WithTimeout(ctx, time.Second)
					s, err := open(opened, conn, as)
					cancel()
					if err != nil {
						return
					}
					held.Add(1)
					go func() { _, _ = s.Write(asks) }() // ends with its connection
				}
			}
			atOnce(2*peers, 8, hold)
			attacked = measureAsking(t, to, probed, question)
			most = to.resident(t)
			t.Logf("calm: %v", calm)
			t.Logf("%d streams held by %d peers at %d addresses: %v", held.Load(), 2*peers, addresses, attacked)
			t.Logf("memory: %d MiB before, %d during", before/mib, most/mib)
			for _, s := range from {
				s.close()
			}
			require.Zero(t, attacked.failed)
			require.LessOrEqual(t, most, whenLong(processMemory, limits.Memory+limits.Buffered))
		})
	}
}

func frames(t *testing.T, n int, m wire.Message) []byte {
	t.Helper()
	b, err := framing.AppendFrame(nil, m)
	require.NoError(t, err)
	return bytes.Repeat(b, n)
}

// storeLong has the target keep a value of 60 kB.
func storeLong(t *testing.T, to *target, key []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := newSource("127.0.0.1")
	require.NoError(t, err)
	defer s.close()
	conn, err := s.dial(ctx, to, erlang, nil)
	require.NoError(t, err)
	defer conn.CloseWithError(0, "")
	stream, err := open(ctx, conn, erlang)
	require.NoError(t, err)
	value := wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(bytes.Repeat([]byte("n"), 32))},
		wire.Pair{Key: "filler", Value: wire.RawBytes(make([]byte, 60_000))},
	)
	b, err := framing.AppendFrame(nil, &wire.Store{Key: key, Value: value})
	require.NoError(t, err)
	_, err = stream.Write(b)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the STORE is done when what is behind it is answered
		reply, err := ask(ctx, stream, &wire.Ping{})
		return err == nil && reply.Type() == wire.TypePong
	}, patience, tick)
}
