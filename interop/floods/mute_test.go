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

// Peers that hold streams on which they never say what they want to speak: of libp2p such
// ones are in a scope that all peers share. Honest clients get their streams.
func TestStreamsThatSayNothing(t *testing.T) {
	to := startTarget(t, conns.Limits{})
	peers, each, probed := whenLong(60, 12), 200, whenLong(200, 10)
	calm := measure(t, to, probed)
	before := to.resident(t)
	from := sources(t, 16)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var held atomic.Int64
	atOnce(peers, 8, func(i int) {
		conn, err := from[i%len(from)].dial(ctx, to, kind(i%4/3), &quic.Config{KeepAlivePeriod: 5 * time.Second})
		if err != nil {
			return
		}
		for range each {
			opened, cancel := context.WithTimeout(ctx, time.Second)
			s, err := conn.OpenStreamSync(opened)
			cancel()
			if err != nil {
				return
			}
			if _, err := s.Write([]byte{0x13}); err != nil {
				return
			}
			held.Add(1)
		}
	})
	attacked := measure(t, to, probed)
	t.Logf("calm: %v", calm)
	t.Logf("%d streams without a word: %v", held.Load(), attacked)
	t.Logf("memory: %d MiB before, %d during", before/mib, to.resident(t)/mib)
	require.Zero(t, attacked.failed)
}
