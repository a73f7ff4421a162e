package pebble

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

var bound = flag.Int64("bound", minBytes, "bytes that the files of a flooded store may take")

// highest returns the most that a directory's files took since, and ends to look.
func highest(t *testing.T, dir string) (read func() int64) {
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				if paths, err := filepath.Glob(filepath.Join(dir, "*")); err == nil && len(paths) > 0 {
					most.Store(max(most.Load(), diskBytes(t, dir)))
				}
			}
		}
	}()
	return func() int64 { close(stop); <-stopped; return most.Load() }
}

// The store's files stay within their bound whatever is merged, and there is room again
// for those that come when others have gone.
func TestMaxBytes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, WithMaxBytes(*bound), often, func(c *config) error { c.compactEvery = time.Second / 2; return nil })
	most := highest(t, dir)
	value, rng := make([]byte, 60_000), rand.New(rand.NewPCG(1, 1))
	fill := func() (kept int) {
		var err error
		for i := 0; err == nil && kept < 100_000; i++ {
			for j := 0; j < len(value); j += 8 {
				value[j], value[j+3] = byte(rng.Uint32()), byte(rng.Uint32())
			}
			key := fmt.Sprint(rng.Uint64())
			if err = set(s, key, records.Soon, rec(string(value[:1+rng.IntN(len(value))]), time.Hour)); err == nil {
				kept++
			}
		}
		require.ErrorIs(t, err, ErrNoRoom)
		return kept
	}
	for i := range 3 {
		kept := fill()
		t.Logf("%d values of 30 kB in %d bytes", kept, s.Status().DiskBytes)
		require.True(t, i > 0 || int64(kept)*30_000 > *bound/3, "what has gone may still be there, later")
		removeAll(t, s)
		recovered(t, s)
	}
	require.NoError(t, set(s, "new", records.Synced, rec("v", time.Hour)))
	peak := most()
	t.Logf("at most %d bytes of %d: %.2f", peak, *bound, float64(peak)/float64(*bound))
	require.Less(t, peak, *bound+*bound/20)
}

func removeAll(t *testing.T, s *Store) {
	t.Helper()
	for {
		keys, _, err := s.Keys(t.Context(), nil, "", 1000)
		require.NoError(t, err)
		if len(keys) == 0 {
			return
		}
		done := make(chan error, len(keys))
		for _, key := range keys {
			s.Update(t.Context(), key, records.Soon, func([]records.Record) []records.Record { return nil }, func(err error) { done <- err })
		}
		for range keys {
			require.NoError(t, errors.Join(<-done))
		}
	}
}

// What has been removed leaves the disk though nothing more is stored.
func TestFilesShrink(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, often, func(c *config) error { c.tidyEvery = 50 * time.Millisecond; return nil })
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 60_000)
	for i := range 400 {
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		require.NoError(t, set(s, fmt.Sprint(i), records.Soon, rec(string(value), time.Hour)))
	}
	full := s.db.Metrics().Table.Local.LiveSize
	require.Greater(t, full, uint64(12<<20))
	removeAll(t, s)
	require.Eventually(t, func() bool { return s.Status().DiskBytes < 24<<20 }, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		paths, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		return err == nil && len(paths) <= 1
	}, 20*time.Second, 10*time.Millisecond)
	t.Logf("%d bytes in tables, then %d in all", full, diskBytes(t, dir))
}
