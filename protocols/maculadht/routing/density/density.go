// Package density tells from a node's own lookups how large the network is, and by that
// where nodes lie nearer to a key than chance puts them: ids are free, so that whoever
// wants a key hidden can choose twenty that are its nearest.
//
// Ids are hashes, so those of honest nodes are spread evenly, and the distance of the
// k-th nearest to a point, as a part of the id space, times the number of nodes is a
// Gamma(k) variable. So the k-th nearest neighbour tells the density (Loftsgaarden and
// Quesenberry, A nonparametric estimate of a multivariate density function, 1965); the
// size is the median of that at many places, which no few of them move far. That the
// nearest tell an attack, and that copies go to the region that should hold k nodes
// where there is one, is after Sridhar et al., Content censorship in the InterPlanetary
// File System, NDSS 2024.
package density

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// Threshold is the least number of nodes that the network, by its estimated size,
	// has to have on average as near to a key as the [routing.BucketSize] nearest that
	// answered. With fewer those are too dense to be true. By chance that happens in
	// less than one lookup of a thousand; a crowd that is just not told by it leaves no
	// honest node among them in as few (exp(-Threshold)).
	Threshold = 7.0
	// MaxAge is for how long what a lookup saw counts.
	MaxAge = time.Hour
	// MinRegions is from how many regions of the id space on that anything is said.
	MinRegions = 4

	minCrowd   = 3
	regionBits = 6
	k          = routing.BucketSize
)

// Estimator estimates the number of nodes. Of each of 64 regions of the id space it keeps
// what the last lookup there saw: keys in more than half of those that were looked at
// would have to be beset for the estimate to follow. The zero value is ready to use. It
// is safe for concurrent use.
type Estimator struct {
	mu      sync.Mutex
	samples [1 << regionBits]sample
}

type sample struct {
	nodes float64 // that the network would have by it
	at    time.Time
}

// Note takes in what a lookup of target came to: those that answered, nearest first.
// Fewer than [routing.BucketSize] tell nothing.
func (e *Estimator) Note(target routing.ID, closest []routing.Contact, now time.Time) {
	if len(closest) < k {
		return
	}
	part := fraction(target, closest[k-1].ID)
	if part == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.samples[target[0]>>(8-regionBits)] = sample{nodes: (k - 1./3) / part, at: now} // the median of Gamma(k) is k-1/3
}

// Nodes returns about how many nodes the network has, and whether that is known.
func (e *Estimator) Nodes(now time.Time) (nodes float64, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var seen []float64
	for _, s := range e.samples {
		if !s.at.IsZero() && now.Sub(s.at) < MaxAge {
			seen = append(seen, s.nodes)
		}
	}
	if len(seen) < MinRegions {
		return 0, false
	}
	slices.Sort(seen)
	// The geometric mean of both where two are in the middle.
	return math.Sqrt(seen[(len(seen)-1)/2] * seen[len(seen)/2]), true
}

// TooDense reports whether those nearest to target, nearest first, lie too densely to be
// true, and how many leading bits the ids of the region share with target that should
// hold [routing.BucketSize] nodes: it is the smallest that is expected to have as many.
// Where the size is not known, or fewer answered, nothing is too dense.
func (e *Estimator) TooDense(target routing.ID, closest []routing.Contact, now time.Time) (prefix int, dense bool) {
	nodes, known := e.Nodes(now)
	if !known || len(closest) < k || nodes*fraction(target, closest[k-1].ID) >= Threshold {
		return 0, false
	}
	return min(max(0, int(math.Log2(nodes/k))), routing.IDBits/2), true
}

// Crowded reports whether among some contacts that lie near to target, nearest first, the
// first so many of any number, be it three, are so dense as is less likely by chance than
// what TooDense tells of. Where the size is not known none are.
func (e *Estimator) Crowded(target routing.ID, nearest []routing.Contact, now time.Time) bool {
	nodes, known := e.Nodes(now)
	if !known {
		return false
	}
	least := atLeast(k, Threshold)
	for i := range nearest {
		if n := i + 1; n >= minCrowd && atLeast(n, nodes*fraction(target, nearest[i].ID)) < least {
			return true
		}
	}
	return false
}

// atLeast is how likely n or more are where there are so many on average, of those that
// lie anywhere independently of each other (Poisson).
func atLeast(n int, average float64) (likely float64) {
	if average >= float64(n) {
		return 1 // or not much less
	}
	logFactorial, _ := math.Lgamma(float64(n + 1))
	term := math.Exp(float64(n)*math.Log(average) - average - logFactorial)
	for i := n; term > likely*1e-9; i++ {
		likely += term
		term *= average / float64(i+1)
	}
	return likely
}

// fraction returns the distance between two ids as a part of the id space, 0 to 1.
func fraction(a, b routing.ID) float64 {
	d := a.Distance(b)
	return float64(binary.BigEndian.Uint64(d[:])) / (1 << 64)
}
