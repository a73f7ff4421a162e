package upkeep

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// What it costs to find out which of 100,000 keys a newcomer is nearest to, apart
// from what is handed over.
func BenchmarkHandOver(b *testing.B) {
	const keys = 100_000
	rng := routingtest.Rand(10)
	s := routingtest.NewServer(b)
	for i := range 5000 {
		_ = s.Admit(routingtest.Peer(i))
	}
	for range keys {
		id := routingtest.RandomID(rng)
		require.NoError(b, s.Records().Store(b.Context(), records.Put{Key: id[:], Value: []byte("v"), TTL: time.Hour}))
	}
	l, err := lookup.New(s, routingtest.Silent{})
	require.NoError(b, err)
	u, err := New(l)
	require.NoError(b, err)
	defer u.Close()
	stranger := map[routing.ID]*newcomer{routingtest.RandomID(rng): new(newcomer)} // not in the table, so nothing is handed over
	b.ReportAllocs()
	for b.Loop() {
		u.handOverTo(u.ctx, stranger, make(chan struct{}, handOversAtOnce), u.bytes)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
}
