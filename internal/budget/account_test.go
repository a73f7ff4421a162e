package budget_test

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/internal/budget"
)

func TestAllowFrames(t *testing.T) {
	type charge struct {
		who  budget.Source
		n    int
		want bool
	}
	tests := map[string]struct {
		limits  budget.Limits
		charges []charge
	}{
		"to the last frame of the source": {frames(1, 10, 1, 40), []charge{{alice, 9, true}, {alice, 1, true}, {alice, 1, false}}},
		"sources do not share":            {frames(1, 10, 1, 40), []charge{{alice, 10, true}, {alice, 1, false}, {bob, 10, true}}},
		"the source refuses, the group is not charged": {frames(1, 10, 1, 20), []charge{
			{alice, 10, true}, {alice, 10, false}, {bob, 10, true}, {bob, 1, false}}},
		"the group refuses, the source is not charged": {frames(1, 10, 1, 15), []charge{
			{alice, 9, true}, {bob, 7, false}, {bob, 6, true}, {bob, 1, false}, {carol, 10, true}}},
		"no group":           {frames(1, 10, 1, 10), []charge{{local, 10, true}, {local, 1, false}, {alice, 10, true}}},
		"more than a burst":  {frames(1, 10, 1, 40), []charge{{alice, 11, false}, {alice, 10, true}}},
		"nothing":            {frames(1, 1, 1, 1), []charge{{alice, 0, true}, {alice, -5, true}, {alice, 1, true}, {alice, 1, false}, {alice, 0, true}}},
		"no limit":           {frames(rate.Inf, 0, rate.Inf, 0), []charge{{alice, math.MaxInt, true}, {alice, math.MaxInt, true}}},
		"no limit of groups": {frames(1, 10, rate.Inf, 0), []charge{{alice, 10, true}, {alice, 1, false}, {bob, 10, true}}},
		"this node":          {frames(1, 1, 1, 1), []charge{{budget.Source{}, 100, true}, {budget.Source{}, 100, true}}},
		"huge": {frames(1, math.MaxInt, 1, math.MaxInt), []charge{
			{alice, math.MaxInt, true}, {alice, math.MaxInt, false}, {bob, math.MaxInt, false}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, tt.limits)
				for i, c := range tt.charges {
					require.Equal(t, c.want, open(t, b, c.who).AllowFrames(c.n), "charge %d", i)
				}
			})
		})
	}
}

func TestFramesComeBackWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, frames(10, 20, 15, 20))
		first, second := open(t, b, alice), open(t, b, bob)
		require.Equal(t, 20, allowed(first, 100))
		require.Zero(t, allowed(second, 100), "the group has none")
		time.Sleep(time.Second)
		require.Equal(t, 10, allowed(first, 100))
		require.Equal(t, 5, allowed(second, 100))
		time.Sleep(time.Hour)
		require.Equal(t, 20, allowed(second, 100))
	})
}

// What an account took from its group's in advance is not lost to the others
// when it closes, and never more than was there.
func TestGroupIsChargedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst = 100 << 10 // batches of 64
		b := newBudget(t, frames(1, burst, 1, burst))
		spent := 0
		for i := range 500 {
			a := b.Open(budget.Source{Name: fmt.Sprint(i), Group: alice.Group})
			spent += allowed(a, 1)
			a.Close()
		}
		require.Equal(t, 500, spent)
		require.Equal(t, burst-spent, allowed(open(t, b, bob), 2*burst))
		require.Zero(t, allowed(open(t, b, alice), 100))
	})
}

// Reconnecting must not refill what a source or its group has used up.
func TestAccountOutlivesItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, frames(10, 20, 10, 30))
		a := b.Open(alice)
		require.Equal(t, 20, allowed(a, 100))
		a.Close()
		a.Close()
		require.Equal(t, 2, b.Usage().Remembered)

		for range 10 {
			a = b.Open(alice)
			require.Zero(t, allowed(a, 10))
			a.Close()
		}
		a = b.Open(bob)
		require.Equal(t, 10, allowed(a, 100), "what the group has left")
		a.Close()

		time.Sleep(time.Second)
		a = b.Open(alice)
		require.Equal(t, 10, allowed(a, 100), "as if it had stayed")
		a.Close()

		time.Sleep(2 * time.Second)
		require.Zero(t, b.Usage().Sources, "full again, so forgotten")
		require.Equal(t, 1, b.Usage().Groups)
		time.Sleep(time.Second)
		require.Equal(t, budget.Totals{}, b.Usage())
	})
}

func TestQuietAccountsAreForgottenAtOnce(t *testing.T) {
	b := newBudget(t, budget.DefaultLimits())
	first, second := b.Open(alice), b.Open(alice)
	require.NoError(t, first.ReserveMemory(1, 255))
	require.Equal(t, budget.Totals{Usage: budget.Usage{Memory: 1}, Sources: 1, Groups: 1}, b.Usage())
	first.ReleaseMemory(1)
	first.Close()
	first.Close() // is not the second's
	require.Equal(t, 1, b.Usage().Sources)
	second.Close()
	require.Equal(t, budget.Totals{}, b.Usage())
}

func TestTheLongestClosedIsForgottenFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := frames(1, 10, 1, 40)
		limits.Remember = 2
		b := newBudget(t, limits)
		spend := func(who budget.Source) int {
			a := b.Open(who)
			defer a.Close()
			return allowed(a, 100)
		}
		require.Equal(t, 10, spend(alice))
		require.Equal(t, 10, spend(bob))
		require.Zero(t, spend(alice), "remembered, and now the latest")
		require.Equal(t, 10, spend(carol))
		require.Zero(t, spend(alice))
		require.Equal(t, 10, spend(bob), "forgotten")
	})
}

func TestHeld(t *testing.T) {
	limits := budget.DefaultLimits()
	limits.Source.Memory, limits.Group.Memory, limits.TotalMemory = 10<<10, 15<<10, 18<<10

	const kib = 1 << 10
	type step struct {
		who  budget.Source
		n    int // KiB; negative to give back
		want budget.Scope
	}
	tests := map[string][]step{
		"to the source's limit": {{alice, 10, ""}, {alice, 1, budget.ScopeSource}, {bob, 1, ""}, {alice, -1, ""}, {alice, 1, ""}},
		"to the group's limit": {{alice, 10, ""}, {bob, 6, budget.ScopeGroup}, {bob, 5, ""}, {bob, 1, budget.ScopeGroup},
			{alice, 1, budget.ScopeSource}, {carol, 3, ""}, {alice, -1, ""}, {bob, 1, ""}},
		"to the total": {{alice, 10, ""}, {carol, 9, budget.ScopeAll}, {carol, 8, ""}, {bob, 1, budget.ScopeAll},
			{local, 1, budget.ScopeAll}, {alice, -1, ""}, {bob, 1, ""}},
		"no group": {{local, 10, ""}, {local, 1, budget.ScopeSource}, {alice, 8, ""}},
		"this node counts and is not refused": {{budget.Source{}, 17, ""}, {alice, 2, budget.ScopeAll}, {budget.Source{}, 10, ""},
			{alice, 1, budget.ScopeAll}, {budget.Source{}, -27, ""}, {alice, 10, ""}},
		"given back twice": {{alice, 3, ""}, {bob, 4, ""}, {alice, -5, ""}, {alice, -5, ""}, {bob, 6, ""}, {bob, 1, budget.ScopeSource},
			{alice, 5, ""}, {alice, 1, budget.ScopeGroup}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBudget(t, limits)
			for i, s := range steps {
				a := open(t, b, s.who)
				if s.n < 0 {
					a.ReleaseMemory(-s.n * kib)
					continue
				}
				requireScope(t, s.want, s.who, a.ReserveMemory(s.n*kib, 255), i)
			}
		})
	}
}

func requireScope(t *testing.T, want budget.Scope, who budget.Source, err error, step int) {
	t.Helper()
	if want == "" {
		require.NoError(t, err, "step %d", step)
		return
	}
	require.ErrorIs(t, err, network.ErrResourceLimitExceeded, "step %d", step)
	var limit *budget.LimitError
	require.ErrorAs(t, err, &limit)
	require.Equal(t, want, limit.Scope, "step %d", step)
	require.Equal(t, who, limit.Source)
	require.Positive(t, limit.Limit)
}

func TestLimitErrorText(t *testing.T) {
	err := &budget.LimitError{Source: alice, Scope: budget.ScopeGroup, Limit: 100}
	require.EqualError(t, err, "resource limit exceeded: 192.0.2.1 (192.0.2.0/24): limit of 100 bytes buffered (group)")
}

func TestReserveMemory(t *testing.T) {
	const limit = 1 << 20
	limits := budget.DefaultLimits()
	limits.Source.Memory, limits.Group.Memory = limit, limit // of the source's any priority takes all
	tests := map[string]struct {
		size int
		prio uint8
		ok   bool
	}{
		"all":                 {limit, 255, true},
		"one more":            {limit + 1, 255, false},
		"half":                {limit / 2, 127, true},
		"more than half":      {limit/2 + 1, 127, false},
		"the least priority":  {limit / 256, 0, true},
		"more than the least": {limit/256 + 1, 0, false},
		"nothing":             {0, 0, true},
		"negative":            {-1, 255, false},
		"huge":                {math.MaxInt, 255, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBudget(t, limits)
			a := open(t, b, alice)
			err := a.ReserveMemory(tt.size, tt.prio)
			if !tt.ok {
				require.Error(t, err)
				tt.size = 0
			} else {
				require.NoError(t, err)
			}
			want := budget.Usage{Memory: int64(tt.size)}
			source, group := a.Usage()
			require.Equal(t, want, source)
			require.Equal(t, want, group)
			require.Equal(t, want, b.Usage().Usage)
			a.ReleaseMemory(-1)
			a.ReleaseMemory(tt.size)
			require.Equal(t, budget.Usage{}, b.Usage().Usage)
		})
	}
}

// No moment is over a limit, and everything comes back to nothing.
func TestAccountsFromManyGoroutines(t *testing.T) {
	limits := frames(rate.Inf, 0, rate.Inf, 0)
	limits.Source.Memory, limits.Group.Memory, limits.TotalMemory = 8<<10, 20<<10, 50<<10
	limits.Remember = 4
	for name, rates := range map[string]budget.Limits{
		"no rate":  limits,
		"with one": {Source: budget.Share{FrameRate: 1e5, FrameBurst: 1e5}, Group: budget.Share{FrameRate: 2e5, FrameBurst: 2e5}},
	} {
		t.Run(name, func(t *testing.T) {
			l := limits
			l.Source.FrameRate, l.Source.FrameBurst = rates.Source.FrameRate, rates.Source.FrameBurst
			l.Group.FrameRate, l.Group.FrameBurst = rates.Group.FrameRate, rates.Group.FrameBurst
			b := newBudget(t, l)
			var wg sync.WaitGroup
			for worker := range 16 {
				wg.Go(func() {
					for i := range 300 {
						who := budget.Source{Name: fmt.Sprint((worker + i) % 12)}
						if n := (worker + i) % 4; n > 0 {
							who.Group = fmt.Sprint("group ", n)
						}
						a := b.Open(who)
						var bytes int
						for size := range 20 {
							if a.ReserveMemory(100*size, uint8(255-size)) == nil {
								bytes += 100 * size
							}
							a.AllowFrames(size)
							all := b.Usage()
							source, group := a.Usage()
							if all.Memory > l.TotalMemory || source.Memory > l.Source.Memory || group.Memory > l.Group.Memory ||
								all.Remembered > 2*l.Remember {
								t.Errorf("over a limit: %+v %+v %+v", all, source, group)
							}
						}
						a.ReleaseMemory(bytes)
						a.Close()
					}
				})
			}
			wg.Wait()
			all := b.Usage()
			require.Equal(t, budget.Usage{}, all.Usage)
			require.Equal(t, all.Sources+all.Groups, all.Remembered, "none is open")
			for i := range 12 {
				for g := range 4 {
					who := budget.Source{Name: fmt.Sprint(i), Group: fmt.Sprint("group ", g)}
					source, group := open(t, b, who).Usage()
					require.Equal(t, budget.Usage{}, source)
					require.Equal(t, budget.Usage{}, group)
				}
			}
		})
	}
}

// A source's frames are never more than its rate allows, however many charge.
func TestFramesFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst, groupBurst = 3000, 10_000
		b := newBudget(t, frames(1, burst, 1, groupBurst))
		var (
			wg  sync.WaitGroup
			mu  sync.Mutex
			of  = map[string]int{}
			sum int
		)
		for worker := range 20 {
			wg.Go(func() {
				name := fmt.Sprint(worker % 5)
				a := b.Open(budget.Source{Name: name, Group: "group"})
				defer a.Close()
				yes := allowed(a, burst)
				mu.Lock()
				defer mu.Unlock()
				of[name] += yes
				sum += yes
			})
		}
		wg.Wait()
		for name, n := range of {
			require.LessOrEqual(t, n, burst, name)
		}
		require.LessOrEqual(t, sum, groupBurst)
		for i := range 5 { // what was held in advance is back
			sum += allowed(open(t, b, budget.Source{Name: fmt.Sprint(i), Group: "group"}), burst)
		}
		require.Equal(t, groupBurst, sum)
	})
}

func TestNothingIsAllocated(t *testing.T) {
	limits := ampleLimits()
	for name, who := range map[string]budget.Source{"group": alice, "no group": local, "this node": {}} {
		t.Run(name, func(t *testing.T) {
			a := open(t, newBudget(t, limits), who)
			require.Zero(t, testing.AllocsPerRun(1000, func() { a.AllowFrames(3) }))
			require.Zero(t, testing.AllocsPerRun(1000, func() {
				_ = a.ReserveMemory(4096, 255)
				a.ReleaseMemory(4096)
			}))
		})
	}
	spent := open(t, newBudget(t, frames(1, 1, 1, 1)), alice)
	require.Zero(t, testing.AllocsPerRun(1000, func() { spent.AllowFrames(1) }), "a refusal")
}
