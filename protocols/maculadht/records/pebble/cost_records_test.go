//go:build !race

// With the race detector Pebble keeps its tables and batches in other places.

package pebble

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

var costRecords = flag.Int("cost.records", 4_000, "records whose cost is measured")

func heap() int64 {
	var stats runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// What a record is charged is what it costs in memory, written now or read when the
// store was opened: each under a key and from a source of its own, and all from one.
func TestCostOfRecords(t *testing.T) {
	if withoutCgo {
		t.Skip("without cgo what Pebble has for itself is on Go's heap too, where this looks")
	}
	type row struct{ size, sources int }
	n := *costRecords
	most, rows := 1.2, []row{{16, n}, {100, n}, {1000, n}, {8000, n}, {16, 1}, {8000, 1}}
	if n < 30_000 {
		most, rows = 1.5, []row{{16, n}, {8000, n}} // what does not grow with them counts; and the others are only told
	}
	for _, r := range rows {
		dir := t.TempDir()
		fill := func(m *records.Manager, first int) {
			rng := rand.New(rand.NewPCG(1, 1))
			var all sync.WaitGroup
			for i := first; i < first+n; i++ {
				value := make([]byte, r.size)
				for j := range value {
					value[j] = byte(rng.Uint32())
				}
				who := fmt.Sprintf("12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9D%04d", i%r.sources)
				all.Add(1)
				m.StoreThen(t.Context(), records.Put{
					Key: number(uint64(i)), Value: value, NodeID: append(make([]byte, 24), number(uint64(i))[24:]...), TTL: time.Hour,
					Source: records.Source{Name: who, Group: fmt.Sprintf("192.0.%d.0/24", i%r.sources)},
				}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					all.Done()
				})
			}
			all.Wait()
		}
		open := func() (*Store, *records.Manager) {
			s, err := Open(dir, us)
			require.NoError(t, err)
			m, err := records.New(records.WithStore(s), records.WithLimits(records.Limits{Bytes: 4 << 30, BytesPerSource: 4 << 30}))
			require.NoError(t, err)
			return s, m
		}
		_, m := open()
		fill(m, n) // batches, which are used again, grow to their size
		before := heap()
		fill(m, 0)
		written := float64(heap()-before) / float64(n)
		charged := float64(m.Stats().Bytes) / float64(2*n)
		require.NoError(t, m.Close())
		before = heap()
		s, m := open()
		read := float64(heap()-before) / float64(2*n)
		require.NoError(t, s.db.Flush())
		require.NoError(t, s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
		tables := float64(s.db.Metrics().Table.Local.LiveSize) / float64(2*n)
		require.NoError(t, m.Close())
		if r.sources > 1 && (r.size == 16 || r.size == 8000) {
			require.Less(t, max(written, read)/charged, most, "%d bytes", r.size)
		}
		t.Logf("%5d bytes, %4d sources: charged %.0f, in memory %.0f (%.2f), read from the disk %.0f (%.2f); on the disk %.0f, with logs %.0f",
			r.size, r.sources, charged, written, written/charged, read, read/charged, tables, float64(diskBytes(t, dir))/float64(2*n))
	}
}
