package pebble

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/entries"
)

var costFor = flag.Duration("cost", 200*time.Millisecond, "how long each cost is measured")

func newManager(tb testing.TB, store records.Store) *records.Manager {
	tb.Helper()
	m, err := records.New(records.WithStore(store), records.WithLimits(records.Limits{Bytes: 4 << 30, BytesPerSource: 4 << 30}))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.Close()) })
	return m
}

// number returns a key of 32 bytes, a hash as those of services are: where keys rise Pebble
// need not merge anything.
func number(n uint64) []byte {
	h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	return h[:]
}

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

func diskBytes(t *testing.T, dir string) (n int64) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if info, infoErr := os.Stat(path); err == nil && infoErr == nil && !entry.IsDir() {
			n += info.Size()
		}
		return err
	}))
	return n
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
			MemTableSize: database.MemTableBytes, FormatMajorVersion: pebble.FormatTableFormatV6, Logger: silent{},
		})
		require.NoError(t, err)
		defer bare.Close()
		var next atomic.Uint64
		var ours, theirs int
		for range 5 { // in turn, as the disk has its moods
			theirs += during(t, inFlight, &next, func(n uint64) error {
				r := records.Record{Place: 1, Value: value, NodeID: number(n), Expires: time.Now().Add(time.Hour), Source: records.Source{Name: "source"}}
				b := bare.NewBatch()
				defer b.Close()
				if _, err := entries.Set(b, nil, number(n), &r, n2); err != nil {
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

// silent is a logger of Pebble's that says nothing.
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
