package lookup

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var (
	simNodes = flag.Int("sim.nodes", routingtest.SimNodes, "how many nodes TestSimulation has")
	simSeed  = flag.Uint64("sim.seed", 1, "what decides all that is random in TestSimulation")
)

// Scenarios that others are compared with.
const (
	simNodesCalm = "calm, FIND_NODE: exactly the 20 nearest"
	simCalm      = "calm"
	simChurn     = "an hour of churn, half of the nodes replaced, a quarter moved"
)

const (
	simKeys      = 1000
	simRefresh   = 20 * time.Minute // how often a node looks up a random id
	simFar       = 3                // how many far buckets a new node fills
	simChurnTime = time.Hour
	simGuests    = 9   // Erlang nodes for each node, in a mixed mesh
	simMore      = 1.1 // messages of a lookup there, of those without them
)

// TestSimulation runs lookups in a simulated network and prints how they fare.
// Of the real thing it has Server, Table and Lookups; simulated are the network
// (round trips of 20 to 150 ms in virtual time; the dead never answer) and, in
// the churn, the upkeep of the tables. Values lie at the BucketSize nearest
// nodes of the beginning and are not handed over.
//
//	go test ./protocols/maculadht/routing/lookup -run TestSimulation -sim.nodes 10000 -v
func TestSimulation(t *testing.T) {
	// One thread is twice as fast: all that goroutines do here is wake others.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a quarter of its time is the collector's else
	n := *simNodes
	lookups := min(2*n, 10_000)
	findNodes := func(_ *testing.T, s *routingtest.Sim, _ [][]byte, rng *rand.Rand) *tally {
		return lookNodes(s, lookups, rng)
	}
	calm := func(_ *testing.T, s *routingtest.Sim, keys [][]byte, rng *rand.Rand) *tally {
		return lookValues(s, keys, lookups, rng)
	}
	churned := func(t *testing.T, s *routingtest.Sim, keys [][]byte, rng *rand.Rand) *tally {
		return churn(t, s, keys, lookups, rng)
	}
	scenarios := []struct {
		name    string
		atLeast float64 // share of lookups that find
		run     func(t *testing.T, s *routingtest.Sim, keys [][]byte, rng *rand.Rand) *tally
		guests  int    // for each node
		like    string // the scenario that is the same without guests
	}{
		{name: simNodesCalm, atLeast: 1, run: findNodes},
		{name: "the same, 9 in 10 are Erlang guests", atLeast: 1, run: findNodes, guests: simGuests, like: simNodesCalm},
		{name: simCalm, atLeast: 1, run: calm},
		{name: "calm, 9 in 10 are Erlang guests", atLeast: 1, run: calm, guests: simGuests, like: simCalm},
		{name: "30 % of all nodes die at once", atLeast: 0.999, run: func(t *testing.T, s *routingtest.Sim, keys [][]byte, rng *rand.Rand) *tally {
			for range n * 3 / 10 {
				s.Kill(s.Random(rng))
			}
			return calm(t, s, keys, rng)
		}},
		{name: simChurn, atLeast: 0.999, run: churned},
		{name: "the same churn, 9 in 10 are Erlang guests", atLeast: 0.999, run: churned, guests: simGuests, like: simChurn},
		{name: "20 % malicious, half of them silent", atLeast: 0.99, run: func(t *testing.T, s *routingtest.Sim, keys [][]byte, rng *rand.Rand) *tally {
			s.Corrupt(n/5, rng)
			return calm(t, s, keys, rng)
		}},
		{name: "20 % malicious, FIND_NODE: all honest of the 20 nearest", atLeast: 0.99, run: func(t *testing.T, s *routingtest.Sim, keys [][]byte, rng *rand.Rand) *tally {
			s.Corrupt(n/5, rng)
			return findNodes(t, s, keys, rng)
		}},
	}
	messages := make(map[string]float64) // of a lookup, by scenario
	lines := fmt.Sprintf("%d nodes, seed %d\n\n", n, *simSeed) +
		"| scenario | lookups | success | rounds mean / p99 | messages mean / p99 | time p50 / p99 | load max / mean |\n" +
		"|---|---|---|---|---|---|---|\n"
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := routingtest.Rand(*simSeed)
				s := routingtest.NewSim(t, n, rng)
				defer s.Close()
				s.Guests = sc.guests
				visitors := routingtest.Rand(*simSeed + 1)
				for _, node := range s.Live {
					s.Visit(node, visitors)
				}
				keys := make([][]byte, simKeys)
				for i := range keys {
					id := routingtest.RandomID(rng)
					keys[i] = id[:]
					s.Store(keys[i])
				}
				sum := sc.run(t, s, keys, rng)
				lines += sum.row(sc.name, s)
				if sum.success() < sc.atLeast {
					t.Errorf("success %.4f, want %v", sum.success(), sc.atLeast)
				}
				messages[sc.name] = mean(sum.messages)
				if without, ran := messages[sc.like]; ran && messages[sc.name] > simMore*without {
					t.Errorf("%.1f messages a lookup, without guests %.1f: want %v times as many at most", messages[sc.name], without, simMore)
				}
				if sc.name == simCalm && sum.meanRounds() > 4 {
					t.Errorf("%.2f rounds, want 4 at most", sum.meanRounds())
				}
			})
		})
	}
	t.Log("\n" + lines)
}

// tally is what came of many lookups.
type tally struct {
	mu       sync.Mutex
	good     int
	rounds   []int
	messages []int
	took     []time.Duration
}

func (m *tally) add(good bool, found *Found, messages int64, took time.Duration) {
	rounds := 0
	for _, h := range found.Hops {
		if h.Err == nil {
			rounds = max(rounds, h.Round)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if good {
		m.good++
	}
	m.rounds = append(m.rounds, rounds)
	m.messages = append(m.messages, int(messages))
	m.took = append(m.took, took)
}

func (m *tally) success() float64    { return float64(m.good) / float64(len(m.rounds)) }
func (m *tally) meanRounds() float64 { return mean(m.rounds) }

func mean(numbers []int) float64 {
	sum := 0
	for _, n := range numbers {
		sum += n
	}
	return float64(sum) / float64(len(numbers))
}

func (m *tally) row(name string, s *routingtest.Sim) string {
	var loads []int
	for _, node := range s.Live {
		loads = append(loads, int(node.Load.Load()))
	}
	return fmt.Sprintf("| %s | %d | %.2f %% | %.2f / %d | %.1f / %d | %d / %d ms | %.1f |\n", name, len(m.rounds), 100*m.success(),
		m.meanRounds(), quantile(m.rounds, 0.99), mean(m.messages), quantile(m.messages, 0.99),
		quantile(m.took, 0.5).Milliseconds(), quantile(m.took, 0.99).Milliseconds(), float64(slices.Max(loads))/mean(loads))
}

// measure is one lookup, of values if key is not nil.
func (m *tally) measure(s *routingtest.Sim, from *routingtest.SimNode, key []byte, target routing.ID) {
	network := s.Network(from)
	l, err := New(from.Server, network, WithDraw(routingtest.Rand(binary.BigEndian.Uint64(target[:])).IntN))
	require.NoError(s.T, err)
	start := time.Now()
	if key == nil {
		found, err := l.Nodes(context.Background(), target[:])
		m.add(err == nil && s.IsNearest(found.Closest, target, from), found, network.Sent.Load(), time.Since(start))
		return
	}
	found, err := l.Values(context.Background(), key)
	good := (err == nil || errors.Is(err, records.ErrNotFound)) &&
		slices.ContainsFunc(found.Values, func(v FoundValue) bool { return string(v.NodeID) == string(key) })
	m.add(good, found, network.Sent.Load(), time.Since(start))
}

// lookNodes looks up random targets, ten a second.
func lookNodes(s *routingtest.Sim, lookups int, rng *rand.Rand) *tally {
	var m tally
	var wg sync.WaitGroup
	for range lookups {
		from, target := s.Random(rng), routingtest.RandomID(rng)
		wg.Go(func() { m.measure(s, from, nil, target) })
		time.Sleep(100 * time.Millisecond)
	}
	wg.Wait()
	return &m
}

// lookValues looks up random keys, ten a second.
func lookValues(s *routingtest.Sim, keys [][]byte, lookups int, rng *rand.Rand) *tally {
	var m tally
	var wg sync.WaitGroup
	for range lookups {
		from, key := s.Random(rng), keys[rng.IntN(len(keys))]
		wg.Go(func() { m.measure(s, from, key, routing.ID{}) })
		time.Sleep(100 * time.Millisecond)
	}
	wg.Wait()
	return &m
}

// churn replaces half of the nodes within an hour, one after the other, and gives a
// quarter another address, while keys are looked up.
func churn(t *testing.T, s *routingtest.Sim, keys [][]byte, lookups int, rng *rand.Rand) *tally {
	s.Upkeep = true
	var m tally
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, node := range slices.Clone(s.Live) {
		own := routingtest.Rand(rng.Uint64())
		wg.Go(func() { refresh(ctx, s, node, own) })
	}
	replaced := len(s.Live) / 2
	replacer, mover, visitors := routingtest.Rand(rng.Uint64()), routingtest.Rand(rng.Uint64()), routingtest.Rand(rng.Uint64())
	wg.Go(func() {
		for i := range replaced {
			time.Sleep(simChurnTime / time.Duration(replaced))
			s.Kill(s.Random(replacer))
			bootstrap := s.Random(replacer)
			node := routingtest.NewSimNode(t, fmt.Sprint("new-", replacer.Uint32(), "-", i))
			s.Add(node)
			s.Visit(node, visitors)
			if i%2 == 0 {
				s.Move(s.Random(mover))
			}
			joiner := routingtest.Rand(replacer.Uint64())
			wg.Go(func() {
				join(ctx, s, node, bootstrap, joiner)
				refresh(ctx, s, node, joiner)
			})
		}
	})
	own := routingtest.Rand(rng.Uint64())
	for range lookups {
		time.Sleep(simChurnTime / time.Duration(lookups))
		from, key := s.Random(own), keys[own.IntN(len(keys))]
		wg.Go(func() { m.measure(s, from, key, routing.ID{}) })
	}
	time.Sleep(time.Minute)
	cancel()
	wg.Wait()
	return &m
}

// join makes a node known: a lookup of its own id, and one in each of the
// farthest buckets.
func join(ctx context.Context, s *routingtest.Sim, node, bootstrap *routingtest.SimNode, rng *rand.Rand) {
	s.Meet(node, bootstrap)
	l, err := New(node.Server, s.Network(node))
	require.NoError(s.T, err)
	self := node.Contact.ID
	found, err := l.Nodes(ctx, self[:])
	if err != nil || len(found.Closest) == 0 {
		return
	}
	for bit := range simFar {
		target := routingtest.IDAt(rng, self, bit)
		if _, err := l.Nodes(ctx, target[:]); err != nil {
			return
		}
	}
}

// refresh looks up a random id in one of a node's buckets now and then.
func refresh(ctx context.Context, s *routingtest.Sim, node *routingtest.SimNode, rng *rand.Rand) {
	l, err := New(node.Server, s.Network(node))
	require.NoError(s.T, err)
	pause := time.Duration(rng.Int64N(int64(simRefresh)))
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if node.Dead.Load() {
			return
		}
		pause = simRefresh
		target := routingtest.IDAt(rng, node.Contact.ID, rng.IntN(12))
		l.Nodes(ctx, target[:])
	}
}

// quantile returns the q-quantile of numbers, which it sorts.
func quantile[T cmp.Ordered](numbers []T, q float64) T {
	slices.Sort(numbers)
	return numbers[min(len(numbers)-1, int(q*float64(len(numbers))))]
}
