package records

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

func BenchmarkValues(b *testing.B) {
	for _, providers := range []int{1, 20, MaxProviders} {
		b.Run(fmt.Sprint("providers=", providers), func(b *testing.B) {
			s := newManager(b)
			for i := range providers {
				require.NoError(b, s.Store(b.Context(), Put{Key: key, NodeID: fmt.Append(nil, i), Value: []byte("v")}))
			}
			ctx := b.Context()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Values(ctx, key); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkStoreReplace(b *testing.B) {
	s := newManager(b)
	put := Put{Key: key, NodeID: []byte("node"), Value: make([]byte, 200), Source: stranger("s")}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Store(b.Context(), put); err != nil {
			b.Fatal(err)
		}
	}
}

// What a sweep costs that finds nothing, among 100,000 keys.
func BenchmarkSweepNothing(b *testing.B) {
	s := newManager(b)
	for i := range 100_000 {
		require.NoError(b, s.Store(b.Context(), Put{Key: fmt.Append(nil, i), Value: []byte("v"), TTL: time.Hour}))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.sweep(b.Context())
	}
}

// What it costs to look at 1,000 gateways of 100,000, as the list of them does.
func BenchmarkRangeGateways(b *testing.B) {
	s := newManager(b)
	for i := range 100_000 {
		require.NoError(b, s.Store(b.Context(), Put{Key: fmt.Append(nil, wire.GatewayPrefix, i), Value: []byte("v"), TTL: time.Hour}))
	}
	b.ReportAllocs()
	for b.Loop() {
		looked := 0
		_ = s.Range(b.Context(), []byte(wire.GatewayPrefix), func([]byte, []Record) bool {
			looked++
			return looked < 1000
		})
	}
}

func TestValuesHitDoesNotAllocate(t *testing.T) {
	s := newManager(t)
	ctx := t.Context()
	require.NoError(t, s.Store(ctx, Put{Key: key, Value: []byte("v")}))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		_, _ = s.Values(ctx, key)
		_, _ = s.Values(ctx, key[1:])
	}))
}
