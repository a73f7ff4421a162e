package density

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var (
	alarmLookups = flag.Int("alarms.lookups", 2000, "how many lookups TestFalseAlarms has in a network")
	alarmSeed    = flag.Uint64("alarms.seed", 1, "what decides all that is random there")
)

const lookupsEach = 20 // of one that has just joined

// sorted is a network whose nearest are found soon.
type sorted []routing.Contact

func (s sorted) nearest(target routing.ID, but routing.ID) []routing.Contact {
	in := s
	for bit := 0; ; bit++ { // those that share ever more bits
		half, _ := slices.BinarySearchFunc(in, true, func(c routing.Contact, _ bool) int {
			if c.ID[bit/8]&(0x80>>(bit%8)) != 0 {
				return 0
			}
			return -1
		})
		nearer := in[:half]
		if target[bit/8]&(0x80>>(bit%8)) != 0 {
			nearer = in[half:]
		}
		if len(nearer) <= k {
			break
		}
		in = nearer
	}
	near := slices.DeleteFunc(slices.Clone(in), func(c routing.Contact) bool { return c.ID == but })
	slices.SortFunc(near, func(a, b routing.Contact) int { return target.CompareDistance(a.ID, b.ID) })
	return near[:min(len(near), k)]
}

// join notes what a node sees when it joins: around its own id, and in each bucket that
// is farther away than its nearest.
func (s sorted) join(e *Estimator, self routing.ID, rng *rand.Rand) {
	near := s.nearest(self, self)
	e.Note(self, near, start)
	for bucket := range self.CommonPrefixLen(near[0].ID) {
		target := routingtest.IDAt(rng, self, bucket)
		e.Note(target, s.nearest(target, self), start)
	}
}

// TestFalseAlarms counts how often honest nodes lie too densely to be true, for nodes that
// have just joined and know the network's size by a few lookups.
//
//	go test ./protocols/maculadht/routing/density -run TestFalseAlarms -alarms.lookups 1000000 -v
func TestFalseAlarms(t *testing.T) {
	lines := fmt.Sprintf("seed %d\n\n| nodes | lookups | size known | false alarms | a crowd, said of honest ones |\n|---|---|---|---|---|\n", *alarmSeed)
	for _, nodes := range []int{25, 60, 250, 1000, 10_000} {
		rng := routingtest.Rand(*alarmSeed)
		var lookups, known, alarms, crowds int
		for lookups < *alarmLookups {
			n := sorted(networkOf(nodes, rng.Uint64()))
			slices.SortFunc(n, func(a, b routing.Contact) int { return slices.Compare(a.ID[:], b.ID[:]) })
			for range 50 {
				self := n[rng.IntN(nodes)].ID
				var e Estimator
				n.join(&e, self, rng)
				if _, is := e.Nodes(start); is {
					known += lookupsEach
				}
				for range lookupsEach {
					lookups++
					target := routingtest.RandomID(rng)
					near := n.nearest(target, self)
					if _, dense := e.TooDense(target, near, start); dense {
						alarms++
					}
					if e.Crowded(target, near, start) {
						crowds++
					}
					e.Note(target, near, start)
				}
			}
		}
		lines += fmt.Sprintf("| %d | %d | %.0f %% | %d = %.4f %% | %d = %.4f %% |\n", nodes, lookups, 100*float64(known)/float64(lookups), alarms, 100*float64(alarms)/float64(lookups), crowds, 100*float64(crowds)/float64(lookups))
		require.LessOrEqual(t, float64(alarms), 0.001*float64(lookups), "of %d nodes", nodes)
		require.LessOrEqual(t, float64(crowds), 0.002*float64(lookups), "of %d nodes: it costs some questions", nodes)
	}
	t.Log("\n" + lines)
}
