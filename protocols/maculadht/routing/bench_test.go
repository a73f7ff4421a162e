package routing

import (
	"fmt"
	"testing"
)

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
	for _, erlang := range []int{0, 1000} {
		b.Run(fmt.Sprint("erlang=", erlang), func(b *testing.B) {
			rng := newRand(8)
			s := newServer(b)
			for range 10_000 {
				_ = s.Admit(libp2pContact(randomID(rng), "p"))
			}
			for i := range erlang {
				_ = s.Admit(erlangContact(randomID(rng), fmt.Sprintf("https://10.0.%d.%d:9443", i>>8, i&255)))
			}
			target := randomID(rng)
			b.ReportAllocs()
			for b.Loop() {
				s.FindNode(target[:])
			}
		})
	}
}

// An Erlang contact is counted by its network, in the bucket and in the table.
func BenchmarkTableAddErlang(b *testing.B) {
	for name, endpoint := range map[string]string{
		"private":  "https://10.%d.%d.%d:9443",
		"public":   "https://8.%d.%d.%d:9443",
		"crowding": "https://8.8.8.%[3]d:9443",
	} {
		b.Run(name, func(b *testing.B) {
			rng := newRand(9)
			contacts := make([]Contact, 10_000)
			for i := range contacts {
				contacts[i] = erlangContact(randomID(rng), fmt.Sprintf(endpoint, i%250, i/250%250, i%253))
			}
			table := NewTable(randomID(rng), BucketSize)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_ = table.Add(contacts[i%len(contacts)])
			}
		})
	}
}
