package maculadht

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var (
	simnetHosts   = flag.Int("simnet.hosts", 22, "how many hosts TestSimnet has")
	simnetLookups = flag.Int("simnet.lookups", 10, "how many lookups each network does in TestSimnet")
	simnetSeed    = flag.Uint64("simnet.seed", 1, "what decides all that is random in TestSimnet")
)

// TestSimnet compares our lookup of nodes with kad-dht's GetClosestPeers: real
// hosts on a simulated network, QUIC and all, in virtual time. Both are asked
// for the same targets on the same hosts, one after the other, and go first in
// turn: who does may have to dial.
//
//	go test ./protocols/maculadht -run TestSimnet -simnet.hosts 60 -simnet.lookups 1000 -v
func TestSimnet(t *testing.T) {
	t.Parallel()
	table := fmt.Sprintf("%d hosts, seed %d\n\n", *simnetHosts, *simnetSeed) +
		"| loss | lookup | lookups | of the 20 nearest | messages p50 / p99 | time p50 / p99 |\n" +
		"|---|---|---|---|---|---|\n"
	for _, loss := range []int{0, 1} {
		t.Run(fmt.Sprintf("%d %% loss", loss), func(t *testing.T) {
			start := time.Now()
			synctest.Test(t, func(t *testing.T) {
				w := newSimWorld(t, *simnetHosts, loss, *simnetSeed)
				defer w.close()
				w.join()
				ours, kads := w.compare(*simnetLookups)
				table += ours.row(loss, "FIND_NODE") + kads.row(loss, "kad-dht")

				require.Zero(t, ours.failed, "lookups that failed")
				require.GreaterOrEqual(t, ours.recall(), 0.99)
				require.LessOrEqual(t, quantile(ours.messages, 0.5), quantile(kads.messages, 0.5), "messages at the median")
				require.LessOrEqual(t, quantile(ours.took, 0.5), quantile(kads.took, 0.5), "time at the median")
			})
			t.Logf("%v of real time", time.Since(start).Round(time.Second))
		})
	}
	t.Log("\n" + table)
}

// compare does n lookups in both networks.
func (w *simWorld) compare(n int) (ours, kads simTally) {
	for i := range n {
		h, key := w.hosts[w.rng.IntN(len(w.hosts))], w.key()
		target := keyOf(key)
		nearest := w.nearest(routing.ID(target), h)
		inTurn(i,
			func() { ours.add(h.findNodes(w.t, target), nearest) },
			func() { kads.add(h.closestPeers(w.t, key), nearest) })
		time.Sleep(100 * time.Millisecond)
	}
	return ours, kads
}

// simTally is what came of many lookups.
type simTally struct {
	failed   int
	found    int // of the nearest
	nearest  int
	messages []int
	took     []time.Duration
}

func (m *simTally) add(l looked, nearest []peer.ID) {
	if l.err != nil {
		m.failed++
	}
	m.nearest += len(nearest)
	for _, p := range nearest {
		if slices.Contains(l.peers, p) {
			m.found++
		}
	}
	m.messages = append(m.messages, l.messages)
	m.took = append(m.took, l.took)
}

// recall is the share of the nearest that was found.
func (m *simTally) recall() float64 { return float64(m.found) / float64(m.nearest) }

func (m *simTally) row(loss int, name string) string {
	return fmt.Sprintf("| %d %% | %s | %d | %.2f %% | %d / %d | %d / %d ms |\n", loss, name, len(m.took), 100*m.recall(),
		quantile(m.messages, 0.5), quantile(m.messages, 0.99),
		quantile(m.took, 0.5).Milliseconds(), quantile(m.took, 0.99).Milliseconds())
}

// quantile returns the q-quantile of numbers.
func quantile[T cmp.Ordered](numbers []T, q float64) T {
	sorted := slices.Sorted(slices.Values(numbers))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
