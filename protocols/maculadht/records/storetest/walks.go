package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// keys of gateways, of others, and of some between them.
func someKeys(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint([]string{wire.GatewayPrefix, "", "peer.gatewa", "\xff\xff"}[i%4], i))
	}
	return keys
}

func testPages(t *testing.T, s *store) {
	keys := someKeys(401)
	for _, key := range keys {
		s.put(key, rec("v", time.Hour))
	}
	for i := 0; i < len(keys); i += 3 { // so that there are gaps
		s.put(keys[i])
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return len(s.get(key)) == 0 })
	for _, prefix := range []string{"", wire.GatewayPrefix, "peer.gatewa", "peer.", wire.GatewayPrefix + "4", "1", "\xff", "\xff\xff", "\xff\xff\xff", "nothing", keys[0]} {
		want := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !strings.HasPrefix(key, prefix) })
		for _, size := range []int{1, 2, 7, 100, len(keys), 10_000} {
			for range 3 {
				require.ElementsMatch(t, want, s.walk(prefix, size, nil), "%q in pages of %d", prefix, size)
			}
		}
	}
}

func testPagesWhileOthersWrite(t *testing.T, s *store) {
	const stay, come = 300, 2000
	name := func(kind string, i int) string { return fmt.Sprint([]string{wire.GatewayPrefix, ""}[i%2], kind, i) }
	var staying []string
	for i := range stay {
		s.put(name("comes", i), rec("v", time.Hour))
		staying = append(staying, name("stays", i))
		s.put(staying[i], rec("v", time.Hour))
	}
	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		rng := newRand(1)
		for {
			select {
			case <-stop:
				return
			default:
			}
			key, recs := name("comes", rng.IntN(come)), []records.Record(nil)
			switch rng.IntN(3) {
			case 0:
				recs = []records.Record{rec("v", time.Hour)}
			case 1: // what stays is written to, too
				key, recs = name("stays", rng.IntN(stay)), []records.Record{rec("v", time.Duration(rng.IntN(1000)))}
			}
			_ = s.update(t.Context(), key, func([]records.Record) []records.Record { return recs })
		}
	})
	defer writer.Wait()
	defer close(stop)
	for _, prefix := range []string{"", wire.GatewayPrefix} {
		want := slices.DeleteFunc(slices.Clone(staying), func(key string) bool { return !strings.HasPrefix(key, prefix) })
		for range 5 {
			got := s.walk(prefix, 10, nil)
			got = slices.DeleteFunc(got, func(key string) bool { return !strings.Contains(key, "stays") })
			require.ElementsMatch(t, want, got)
		}
	}
}

// Between two pages every key can be written to, and removed.
func testPageHoldsNothing(t *testing.T, s *store) {
	keys := someKeys(200)
	for _, key := range keys {
		s.put(key, rec("v", time.Hour))
	}
	gone := false
	got := s.walk("", 10, func(page []string) {
		if !gone && len(page) > 0 {
			gone = true
			for _, key := range keys {
				if !slices.Contains(page, key) {
					s.put(key)
				}
			}
		}
	})
	require.LessOrEqual(t, len(got), 10, "what was removed does not come from a snapshot")
	require.ElementsMatch(t, got, s.walk("", 100, nil))
}

func testWalksBeginAnywhere(t *testing.T, s *store) {
	const n, looks = 200, 60
	for i := range n {
		s.put(fmt.Sprint(wire.GatewayPrefix, i), rec("v", time.Hour))
		s.put(fmt.Sprint(i), rec("v", time.Hour))
	}
	for _, prefix := range []string{"", wire.GatewayPrefix} {
		first := map[string]bool{}
		for range looks {
			for cursor := records.Cursor(""); ; {
				keys, next, err := s.Keys(t.Context(), []byte(prefix), cursor, 1)
				require.NoError(t, err)
				if len(keys) > 0 {
					first[string(keys[0])] = true
					break
				}
				require.NotEmpty(t, next, "there are keys")
				cursor = next
			}
		}
		require.Greater(t, len(first), looks/4, "of %q", prefix)
	}
}
