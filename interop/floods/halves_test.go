package floods

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Half frames whose rest comes at a byte a second: each stream is reset when a frame may
// take no longer, and nobody else notices. The short form is in virtual time, with the
// server: TestServeTimes.
func TestHalfFrames(t *testing.T) {
	if !*long {
		t.Skip("takes as long as a frame may; -floods.long")
	}
	to := startTarget(t, conns.Limits{})
	const streams = 1600
	calm := measure(t, to, 100)
	before := to.resident(t)
	from := sources(t, 16)
	half := append([]byte{framing.Version, byte(wire.TypePublish), 0, 0, 0, 0x0f, 0xff, 0xff}, make([]byte, 8<<10)...)
	var reset, other atomic.Int64
	var first, last atomic.Int64
	var dripping sync.WaitGroup
	start := time.Now()
	atOnce(32, 8, func(i int) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		as := kind(i % 2)
		conn, err := from[i%16].dial(ctx, to, as, &quic.Config{KeepAlivePeriod: 5 * time.Second})
		if err != nil {
			return
		}
		for range streams / 32 {
			s, err := open(ctx, conn, as)
			if err != nil {
				return
			}
			dripping.Go(func() {
				begun := time.Now()
				_, err := s.Write(half)
				for err == nil && time.Since(begun) < time.Minute {
					time.Sleep(time.Second)
					_, err = s.Write([]byte{0})
				}
				var why *quic.StreamError
				switch took := time.Since(begun); {
				case errors.As(err, &why) && why.Remote && proto.ResetCode(why.ErrorCode) == proto.ResetTimeout:
					reset.Add(1)
					first.CompareAndSwap(0, int64(took))
					last.Store(int64(took))
				default:
					other.Add(1)
				}
			})
		}
	})
	attacked := measure(t, to, 100)
	most := to.resident(t)
	dripping.Wait()
	t.Logf("calm: %v", calm)
	t.Logf("%d half frames, begun within %v: %v", reset.Load()+other.Load(), time.Since(start).Round(time.Second), attacked)
	t.Logf("%d reset for the time, between %v and %v; %d otherwise", reset.Load(), time.Duration(first.Load()).Round(100*time.Millisecond),
		time.Duration(last.Load()).Round(100*time.Millisecond), other.Load())
	t.Logf("memory: %d MiB before, %d during", before/mib, most/mib)
	require.Zero(t, attacked.failed)
	require.Zero(t, other.Load())
	require.Less(t, time.Duration(last.Load()), proto.FrameTimeout+5*time.Second)
}
