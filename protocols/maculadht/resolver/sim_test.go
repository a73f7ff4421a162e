package resolver

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
)

var (
	simNodes     = flag.Int("sim.nodes", routingtest.SimNodes, "how many nodes TestSimulation has")
	simQuestions = flag.Int("sim.questions", 1000, "how many questions it asks")
	simSeed      = flag.Uint64("sim.seed", 1, "what decides all that is random in it")
)

// TestSimulation asks gateways for what lies at the nodes nearest to its key, in a
// simulated network with round trips of 20 to 150 ms, and prints how soon the
// answer has the value.
//
//	go test ./protocols/maculadht/resolver -run TestSimulation -sim.nodes 10000 -v
func TestSimulation(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		rng := routingtest.Rand(*simSeed)
		s := routingtest.NewSim(t, *simNodes, rng)
		defer s.Close()
		for name, open := range map[string]func(*door) *client{"client": (*door).erlang, "gateway": (*door).gateway} {
			simulate(t, s, rng, name, open)
		}
	})
}

func simulate(t *testing.T, s *routingtest.Sim, rng *rand.Rand, name string, open func(*door) *client) {
	var took []time.Duration
	first, second := 0, 0
	for range *simQuestions {
		id := routingtest.RandomID(rng)
		key := id[:]
		s.Store(key)
		from := s.Random(rng)
		for holds := true; holds; {
			from = s.Random(rng)
			_, err := from.Server.Records().Values(t.Context(), key)
			holds = err == nil
		}
		has := func(values []wire.Raw) bool { return len(values) == 1 && bytes.Contains(values[0], key) }

		d := newDoor(t, from.Server, s.Network(from))
		c := open(d)
		values, after := c.find(key)
		took = append(took, after)
		if has(values) {
			first++
		}
		time.Sleep(time.Second)
		values, after = c.find(key)
		require.Zero(t, after, "it is known now")
		if has(values) {
			second++
		}
		d.close()
	}
	slices.Sort(took)
	n := len(took)
	t.Logf("%s, %d nodes, %d questions: %.2f %% at the first, %.2f %% at the second; first answers after %v (p50), %v (p95), %v (p99)",
		name, *simNodes, n, 100*float64(first)/float64(n), 100*float64(second)/float64(n), took[n/2], took[n*95/100], took[n*99/100])
	require.GreaterOrEqual(t, float64(first), 0.95*float64(n))
	require.Equal(t, n, second)
}
