package density

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var start = time.Unix(1_000_000, 0)

// network is nodes at random ids.
type network []routing.Contact

func (n network) nearest(target routing.ID) []routing.Contact {
	near := slices.Clone(n)
	slices.SortFunc(near, func(a, b routing.Contact) int { return target.CompareDistance(a.ID, b.ID) })
	return near[:min(len(near), k)]
}

func networkOf(nodes int, seed uint64) (n network) {
	rng := routingtest.Rand(seed)
	for range nodes {
		n = append(n, routing.Contact{ID: routingtest.RandomID(rng)})
	}
	return n
}

// spread looks at each of the first regions of the id space.
func spread(e *Estimator, n network, regions int, now time.Time) {
	rng := routingtest.Rand(99)
	for i := range regions {
		target := routingtest.RandomID(rng)
		target[0] = byte(i << 2)
		e.Note(target, n.nearest(target), now)
	}
}

func TestNodes(t *testing.T) {
	for _, nodes := range []int{40, 300, 2000} {
		n := networkOf(nodes, uint64(nodes))
		var e Estimator
		_, known := e.Nodes(start)
		require.False(t, known)
		spread(&e, n, MinRegions-1, start)
		_, known = e.Nodes(start)
		require.False(t, known, "too few regions")
		spread(&e, n, 32, start)
		about, known := e.Nodes(start)
		require.True(t, known)
		require.InEpsilon(t, nodes, about, 0.25)
		_, known = e.Nodes(start.Add(MaxAge - 1))
		require.True(t, known)
		_, known = e.Nodes(start.Add(MaxAge))
		require.False(t, known, "too long ago")
	}
	var e Estimator
	spread(&e, networkOf(k-1, 1), 64, start)
	_, known := e.Nodes(start)
	require.False(t, known, "fewer than k tell nothing")
	for i := range byte(64) {
		e.Note(routing.ID{i << 2}, slices.Repeat([]routing.Contact{{ID: routing.ID{i << 2}}}, k), start)
	}
	_, known = e.Nodes(start)
	require.False(t, known, "nor do those that are where the target is")
}

// Fewer than half of the regions do not move the estimate, however dense they are, nor
// does one that is looked at again and again.
func TestEstimateIsRobust(t *testing.T) {
	n := networkOf(1000, 5)
	var e Estimator
	spread(&e, n, 16, start)
	for i := range byte(7) {
		for range 100 {
			target := routing.ID{i << 2}
			e.Note(target, slices.Repeat([]routing.Contact{{ID: routing.ID{i << 2, 0, 0, 1}}}, k), start)
		}
	}
	about, _ := e.Nodes(start)
	require.Less(t, about, 1500.)
	require.Greater(t, about, 700.)
}

func TestTooDense(t *testing.T) {
	const nodes = 1000
	n := networkOf(nodes, 5)
	var e Estimator
	spread(&e, n, 64, start)
	size, _ := e.Nodes(start)
	at := func(expected float64) []routing.Contact { // k of which the last has so many honest nodes within
		var id routing.ID
		d := uint64(expected / size * (1 << 64))
		for i := range 8 {
			id[i] = byte(d >> (56 - 8*i))
		}
		return slices.Repeat([]routing.Contact{{ID: id}}, k)
	}
	for name, tt := range map[string]struct {
		closest []routing.Contact
		want    bool
	}{
		"as expected":             {at(k), false},
		"just not":                {at(Threshold * 1.001), false},
		"just so":                 {at(Threshold * 0.999), true},
		"all near":                {at(0.1), true},
		"fewer than k, all near":  {at(0.1)[1:], false},
		"all where the target is": {at(0), true},
	} {
		t.Run(name, func(t *testing.T) {
			prefix, dense := e.TooDense(routing.ID{}, tt.closest, start)
			require.Equal(t, tt.want, dense)
			if dense {
				holds := size / math.Exp2(float64(prefix))
				require.True(t, holds >= k && holds < 2*k, "the region holds %v", holds)
			}
			_, dense = new(Estimator).TooDense(routing.ID{}, tt.closest, start)
			require.False(t, dense, "where nothing is known")
		})
	}
	var small Estimator
	spread(&small, networkOf(25, 1), 64, start)
	prefix, dense := small.TooDense(routing.ID{}, at(0.001), start)
	require.True(t, dense)
	require.Zero(t, prefix, "a small network is one region")
}

// A few that are nearer than chance puts them are a crowd, be it that those behind them are
// where they should be.
func TestCrowded(t *testing.T) {
	var e Estimator
	spread(&e, networkOf(1000, 5), 64, start)
	size, _ := e.Nodes(start)
	nearest := func(crowd int, expected float64) (all []routing.Contact) { // of which so many have so many honest nodes within
		for i := range k {
			within := float64(i + 1)
			if i < crowd {
				within = expected
			}
			var id routing.ID
			binary.BigEndian.PutUint64(id[:], uint64(within/size*(1<<64)))
			all = append(all, routing.Contact{ID: id})
		}
		return all
	}
	for name, tt := range map[string]struct {
		nearest []routing.Contact
		want    bool
	}{
		"as expected":                          {nearest(0, 0), false},
		"two on top of the target":             {nearest(2, 1e-9), false},
		"three as near as one should be":       {nearest(3, 1), false},
		"three nearer":                         {nearest(3, 0.05), true},
		"ten as near as one should be":         {nearest(10, 1), true},
		"ten as near as five should be":        {nearest(10, 5), false},
		"all, nearer than TooDense tells":      {nearest(k, Threshold*0.99), true},
		"all, not so near as TooDense tells":   {nearest(k, Threshold*1.01), false},
		"nobody":                               {nil, false},
		"a dozen that are named, all too near": {nearest(k, 0.5)[:12], true},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.want, e.Crowded(routing.ID{}, tt.nearest, start))
			require.False(t, new(Estimator).Crowded(routing.ID{}, tt.nearest, start), "where nothing is known")
		})
	}
}
