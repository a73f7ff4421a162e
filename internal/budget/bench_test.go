package budget_test

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/internal/budget"
)

// unlimited in practice, while each charge still goes through the buckets.
func ampleLimits() budget.Limits {
	l := budget.DefaultLimits()
	l.Source.FrameRate, l.Source.FrameBurst = 1e9, 1e9
	l.Group = l.Source.Times(4)
	return l
}

// BenchmarkAllowFrames stands beside a bare limiter, which is what each frame
// was charged to before there were groups.
func BenchmarkAllowFrames(b *testing.B) {
	limits := ampleLimits()
	b.Run("bare limiter", func(b *testing.B) {
		l := rate.NewLimiter(limits.Source.FrameRate, limits.Source.FrameBurst)
		b.ReportAllocs()
		for b.Loop() {
			if !l.AllowN(time.Now(), 1) {
				b.Fatal("refused")
			}
		}
	})
	for name, addr := range map[string]string{"source": "127.0.0.1", "source and group": "192.0.2.1"} {
		b.Run(name, func(b *testing.B) {
			bud, err := budget.New(limits)
			require.NoError(b, err)
			a := bud.Open(budget.SourceOfAddr(netip.MustParseAddr(addr)))
			defer a.Close()
			b.ReportAllocs()
			for b.Loop() {
				if !a.AllowFrames(1) {
					b.Fatal("refused")
				}
			}
		})
	}
	// Sources of one group at the same time: what they share is the group.
	b.Run("parallel/bare limiters", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			l := rate.NewLimiter(limits.Source.FrameRate, limits.Source.FrameBurst)
			for pb.Next() {
				l.AllowN(time.Now(), 1)
			}
		})
	})
	b.Run("parallel/one group", func(b *testing.B) {
		bud, err := budget.New(limits)
		require.NoError(b, err)
		var host atomic.Uint32
		b.RunParallel(func(pb *testing.PB) {
			a := bud.Open(budget.SourceOfAddr(netip.AddrFrom4([4]byte{192, 0, 2, byte(host.Add(1))})))
			defer a.Close()
			for pb.Next() {
				a.AllowFrames(1)
			}
		})
	})
}

func BenchmarkReserveMemory(b *testing.B) {
	bud, err := budget.New(budget.DefaultLimits())
	require.NoError(b, err)
	a := bud.Open(budget.SourceOfAddr(netip.MustParseAddr("192.0.2.1")))
	defer a.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := a.ReserveMemory(4096, 255); err != nil {
			b.Fatal(err)
		}
		a.ReleaseMemory(4096)
	}
}
