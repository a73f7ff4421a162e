package pebble

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

var (
	costFor     = flag.Duration("cost", 200*time.Millisecond, "how long each cost is measured")
	costRecords = flag.Int("cost.records", 4_000, "records whose cost is measured")
)

func newManager(tb testing.TB, store records.Store) *records.Manager {
	tb.Helper()
	m, err := records.New(records.WithStore(store), records.WithLimits(records.Limits{Bytes: 4 << 30, BytesPerSource: 4 << 30}))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.Close()) })
	return m
}

// number returns a key of 32 bytes.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24, 32), n) }

// during has so many callers do something as often as they can, and returns how often
// that was.
func during(tb testing.TB, inFlight int, next *atomic.Uint64, do func(n uint64) error) int {
	var all sync.WaitGroup
	var times atomic.Int64
	end := time.Now().Add(*costFor / 5)
	for range inFlight {
		all.Go(func() {
			for time.Now().Before(end) {
				if err := do(next.Add(1)); err != nil {
					tb.Error(err)
					return
				}
				times.Add(1)
			}
		})
	}
	all.Wait()
	return int(times.Load())
}

// How many synced stores a second are acknowledged, beside Pebble that syncs a batch of
// each of the same records.
func TestCostOfStores(t *testing.T) {
	value, rng := make([]byte, 200), rand.New(rand.NewPCG(1, 1))
	for i := range value {
		value[i] = byte(rng.Uint32())
	}
	for _, inFlight := range []int{1, 32, 256} {
		store, err := Open(t.TempDir(), us)
		require.NoError(t, err)
		m := newManager(t, store)
		bare, err := pebble.Open(t.TempDir(), &pebble.Options{
			MemTableSize: memTableBytes, FormatMajorVersion: pebble.FormatTableFormatV6, Logger: chatter{store.log(), store.db.fence},
		})
		require.NoError(t, err)
		defer bare.Close()
		var next atomic.Uint64
		var ours, theirs int
		for range 5 { // in turn, as the disk has its moods
			theirs += during(t, inFlight, &next, func(n uint64) error {
				r := records.Record{Value: value, NodeID: number(n), Expires: time.Now().Add(time.Hour), Source: records.Source{Name: "source"}}
				b := bare.NewBatch()
				defer b.Close()
				if err := b.Set(appendRecordKey(nil, number(n), middle), appendRecord(nil, &r, n2), nil); err != nil {
					return err
				}
				return b.Commit(pebble.Sync)
			})
			ours += during(t, inFlight, &next, func(n uint64) error {
				return m.Store(context.Background(), records.Put{
					Key: number(n), Value: value, NodeID: number(n), TTL: time.Hour, Synced: true, Source: records.Source{Name: "source"},
				})
			})
		}
		share := float64(ours) / float64(theirs)
		t.Logf("%d in flight: %.0f stores/s, bare Pebble %.0f/s: %.2f", inFlight,
			float64(ours)/costFor.Seconds(), float64(theirs)/costFor.Seconds(), share)
		require.Greater(t, share, 0.3, "at %d in flight, far from what it should be", inFlight)
	}
}

const n2 = 1 << 60 // a time of the store's

// A hit costs what it does in memory.
func BenchmarkValues(b *testing.B) {
	for _, kind := range []string{"memory", "pebble"} {
		b.Run(kind, func(b *testing.B) {
			store := records.NewMemoryStore()
			if kind == "pebble" {
				s, err := Open(b.TempDir(), us)
				require.NoError(b, err)
				store = s
			}
			m := newManager(b, store)
			require.NoError(b, m.Store(b.Context(), records.Put{Key: number(1), Value: []byte("v"), Synced: true}))
			key, ctx := number(1), b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Values(ctx, key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestValuesHitDoesNotAllocate(t *testing.T) {
	m := newManager(t, func() records.Store { s, err := Open(t.TempDir(), us); require.NoError(t, err); return s }())
	key, ctx := number(1), t.Context()
	require.NoError(t, m.Store(ctx, records.Put{Key: key, Value: []byte("v")}))
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = m.Values(ctx, key) }))
}

func heap() int64 {
	var stats runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func diskBytes(t *testing.T, dir string) (n int64) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if info, infoErr := os.Stat(path); err == nil && infoErr == nil && !entry.IsDir() {
			n += info.Size()
		}
		return err
	}))
	return n
}

// What a record is charged is what it costs in memory, written now or read when the
// store was opened: each under a key and from a source of its own, and all from one.
func TestCostOfRecords(t *testing.T) {
	type row struct{ size, sources int }
	n := *costRecords
	rows := []row{{16, n}, {100, n}, {1000, n}, {8000, n}, {16, 1}, {8000, 1}}
	for _, r := range rows {
		dir := t.TempDir()
		fill := func(m *records.Manager) {
			rng := rand.New(rand.NewPCG(1, 1))
			var all sync.WaitGroup
			for i := range n {
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
		measure := func(fill func(*records.Manager)) (perRecord, charged float64) {
			s, err := Open(dir, us)
			require.NoError(t, err)
			m, err := records.New(records.WithStore(s), records.WithLimits(records.Limits{Bytes: 4 << 30, BytesPerSource: 4 << 30}))
			require.NoError(t, err)
			before := heap()
			fill(m)
			grown := heap() - before
			charged = float64(m.Stats().Bytes) / float64(n)
			require.NoError(t, m.Close())
			return float64(grown) / float64(n), charged
		}
		written, charged := measure(fill)
		before := heap()
		s, err := Open(dir, us)
		require.NoError(t, err)
		m, err := records.New(records.WithStore(s), records.WithLimits(records.Limits{Bytes: 4 << 30, BytesPerSource: 4 << 30}))
		require.NoError(t, err)
		read := float64(heap()-before) / float64(n)
		require.NoError(t, s.db.Flush())
		require.NoError(t, s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
		tables := float64(s.db.Metrics().Table.Local.LiveSize) / float64(n)
		require.NoError(t, m.Close())
		if r.sources > 1 && (r.size == 16 || r.size == 8000) {
			most := 1.2
			if n < 30_000 {
				most = 2 // what does not grow with them counts: batches that are used again
			}
			require.Less(t, max(written, read)/charged, most, "%d bytes", r.size)
		}
		t.Logf("%5d bytes, %4d sources: charged %.0f, in memory %.0f (%.2f), read from the disk %.0f (%.2f); on the disk %.0f, with logs %.0f",
			r.size, r.sources, charged, written, written/charged, read, read/charged, tables, float64(diskBytes(t, dir))/float64(n))
	}
}
