package maculadht

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

const (
	partitionHosts = 12
	partitionLasts = time.Minute
	foundWithin    = 10 * time.Second
)

// After a minute in which two halves of a network did not hear of each other, and in
// which both stored, everybody finds all of it within seconds, be it that it was stored
// once and is renewed by nobody.
func TestAfterAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSimWorld(t, partitionHosts, 0, *simnetSeed)
		defer w.close()
		w.join()
		time.Sleep(time.Minute)

		w.parted.Store(true)
		start := time.Now()
		type stored struct {
			key, value []byte
			side       int
		}
		var all []stored
		for i := range 10 { // from its first seconds to its last ones
			for side := range 2 {
				key := keyOf(fmt.Sprint("stored once ", i, side))
				value := dhttest.Value(fmt.Sprint("provider ", i, side), wire.Pair{Key: "ttl", Value: wire.RawInt(600)})
				_, err := w.hosts[(2*i+side)%partitionHosts].service.Store(t.Context(), key, value)
				require.NoError(t, err)
				all = append(all, stored{key, value, side})
			}
			time.Sleep(max(0, time.Until(start.Add(time.Duration(i+1)*partitionLasts/11))))
		}
		time.Sleep(time.Until(start.Add(partitionLasts)))
		for side := range 2 {
			for _, s := range all {
				_, err := w.hosts[side].service.FindValues(t.Context(), s.key)
				require.Equal(t, s.side == side, err == nil, "it is parted: %v", err)
			}
		}

		w.parted.Store(false)
		healed := time.Now()
		var finding sync.WaitGroup
		for i, h := range w.hosts {
			finding.Go(func() {
				for missing := all; len(missing) > 0; {
					found, err := h.service.FindValues(t.Context(), missing[0].key)
					switch {
					case err == nil && string(found.Values[0].Raw) == string(missing[0].value):
						missing = missing[1:]
					case time.Since(healed) > foundWithin:
						t.Errorf("host %d does not find %d of %d records: %v", i, len(missing), len(all), err)
						return
					default:
						time.Sleep(100 * time.Millisecond)
					}
				}
			})
		}
		finding.Wait()
		require.LessOrEqual(t, time.Since(healed), foundWithin)
		t.Logf("all found by all %v after the end", time.Since(healed))
	})
}
