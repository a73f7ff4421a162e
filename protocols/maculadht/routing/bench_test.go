package routing

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkValues(b *testing.B) {
	for _, providers := range []int{1, 20, MaxProviders} {
		b.Run(fmt.Sprint("providers=", providers), func(b *testing.B) {
			s := newServer(b)
			for i := range providers {
				require.NoError(b, s.Store(Put{Key: key, NodeID: fmt.Append(nil, i), Value: []byte("v")}))
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Values(key); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkStoreReplace(b *testing.B) {
	s := newServer(b)
	put := Put{Key: key, NodeID: []byte("node"), Value: make([]byte, 200), Source: "s"}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Store(put); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNearest(b *testing.B) {
	rng := newRand(7)
	table := NewTable(randomID(rng), BucketSize)
	for range 10_000 {
		_ = table.Add(libp2pContact(randomID(rng), "p"))
	}
	target := randomID(rng)
	b.ReportAllocs()
	for b.Loop() {
		table.Nearest(target, BucketSize)
	}
}

func BenchmarkFindNode(b *testing.B) {
	for _, guests := range []int{0, MaxGuests} {
		b.Run(fmt.Sprint("guests=", guests), func(b *testing.B) {
			rng := newRand(8)
			s := newServer(b)
			for range 10_000 {
				_ = s.Admit(libp2pContact(randomID(rng), "p"))
			}
			for range guests {
				_, err := s.AttachGuest(erlangContact(randomID(rng), ""))
				require.NoError(b, err)
			}
			target := randomID(rng)
			b.ReportAllocs()
			for b.Loop() {
				s.FindNode(target[:])
			}
		})
	}
}

func TestValuesHitDoesNotAllocate(t *testing.T) {
	s := newServer(t)
	require.NoError(t, s.Store(Put{Key: key, Value: []byte("v")}))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		_, _ = s.Values(key)
		_, _ = s.Values(key[1:])
	}))
}
