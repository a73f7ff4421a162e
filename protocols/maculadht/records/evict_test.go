package records

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// near says how near keys are by their first letter: "0" shares nothing with the node.
type near struct{ bits int }

func (near) Shared(key []byte) int { return int(key[0] - '0') }
func (n near) Bits() int           { return n.bits }

// held is what a store has, by key and node id.
type held map[string]Record

func heldBy(t *testing.T, s *Manager) held {
	all := held{}
	eachKey(t, s.store, func(key []byte, recs []Record) {
		for _, r := range recs {
			all[string(key)+"/"+string(r.NodeID)] = r
		}
	})
	return all
}

// weights returns what payers have stored.
func (h held) weights() map[string]int64 {
	by := map[string]int64{}
	for name, r := range h {
		if !r.Source.IsOwn() {
			by[payerOf(r.Source)] += h.cost(name)
		}
	}
	return by
}

func (h held) cost(name string) int64 {
	key, _, _ := strings.Cut(name, "/")
	r := h[name]
	return Cost([]byte(key), &r)
}

// rank orders what may give way: owned, then distance, then life.
func rank(name string, r Record) []int64 {
	owned := int64(0)
	if r.Owned {
		owned = 1
	}
	return []int64{owned, int64(name[0] - '0'), r.Expires.UnixNano()}
}

// After each of many puts into a store that is full: it is never over its budget, and who
// has given way is of who had most, and goes before what of his is left.
func TestGiveWay(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := newRand(seed)
				limits := Limits{Bytes: 60_000, BytesPerGroup: 30_000, BytesPerSource: 20_000}
				s, err := New(WithLimits(limits), WithSweepInterval(1000*time.Hour))
				require.NoError(t, err)
				defer s.Close()
				s.SetNeighbourhood(near{})
				gaveWay, refused := 0, 0
				for i := range 400 {
					before := heldBy(t, s)
					p := Put{
						Key: fmt.Append(nil, rng.IntN(4), " key ", rng.IntN(50)), NodeID: fmt.Append(nil, "node ", rng.IntN(4)),
						Value: make([]byte, rng.IntN(2500)), TTL: time.Hour + time.Duration(i+1)*time.Second,
						Source: Source{Name: fmt.Sprint("s", rng.IntN(12))},
					}
					if n := rng.IntN(6); n < 3 {
						p.Source = Source{Name: fmt.Sprint("g", n, rng.IntN(3)), Group: fmt.Sprint("group ", n)}
					}
					if rng.IntN(3) == 0 {
						p.From = p.NodeID
					}
					err := s.Store(t.Context(), p)
					after := heldBy(t, s)
					requireLedgerExact(t, s)
					requireResidents(t, s, after)
					require.LessOrEqual(t, s.Stats().Bytes, limits.Bytes)
					if errors.Is(err, ErrStoreFull) {
						refused++
					}
					gaveWay += requireFair(t, before, after, &p, limits.Bytes)
				}
				t.Logf("%d gave way, %d were refused", gaveWay, refused)
				require.Positive(t, gaveWay)
				require.Positive(t, refused)
				require.EqualValues(t, gaveWay, s.Stats().GaveWay)
			})
		})
	}
}

// requireFair compares who has gone for a put with who had to, and returns how many.
func requireFair(t *testing.T, before, after held, p *Put, limit int64) (victims int) {
	t.Helper()
	put, cost := string(p.Key)+"/"+string(p.NodeID), Cost(p.Key, &Record{Value: p.Value})
	comes := Record{Owned: len(p.From) > 0, Expires: time.Now().Add(p.TTL)}
	want := maps.Clone(before)
	for {
		total := cost
		for name := range want {
			total += want.cost(name)
		}
		if r, there := before[put]; there {
			total -= Cost(p.Key, &r)
		}
		if total <= limit {
			break
		}
		weights, from := want.weights(), ""
		for _, name := range slices.Sorted(maps.Keys(weights)) {
			if from == "" || weights[name] > weights[from] {
				from = name
			}
		}
		own := payerOf(p.Source)
		light := weights[from] > weights[own]+cost
		if !light {
			from = own
		}
		victim := ""
		for name, r := range want {
			if payerOf(r.Source) == from && (victim == "" || slices.Compare(rank(name, r), rank(victim, want[victim])) < 0) {
				victim = name
			}
		}
		if victim == "" || !light && slices.Compare(rank(victim, want[victim]), rank(put, comes)) >= 0 {
			break
		}
		delete(want, victim)
		victims++
	}
	delete(want, put)
	left := maps.Clone(after)
	delete(left, put)
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(left)))
	return victims
}

// requireResidents compares who may give way with what is stored.
func requireResidents(t *testing.T, s *Manager, all held) {
	t.Helper()
	require.Equal(t, all.weights(), s.residents.Weights())
	require.Zero(t, s.underWay.Load())
}

// What the store had before the manager gives way as well, once room is scarce.
func TestGiveWayOfWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore()
		limits := Limits{Bytes: 200_000, BytesPerSource: 200_000}
		fill := func(s *Manager, first, n int) {
			for i := first; i < first+n; i++ {
				p := Put{Key: fmt.Append(nil, i%10, i), NodeID: []byte("n"), Value: make([]byte, 1000-RecordOverhead-len(fmt.Append(nil, i%10, i))), Source: stranger("s")}
				require.NoError(t, s.Store(t.Context(), p))
			}
		}
		first, err := New(WithStore(store), WithLimits(limits))
		require.NoError(t, err)
		defer first.Close()
		fill(first, 1000, 199)

		second, err := New(WithStore(store), WithLimits(limits))
		require.NoError(t, err)
		defer second.Close()
		second.SetNeighbourhood(near{})
		require.NoError(t, second.Store(t.Context(), sized(1000, "honest", "h")))
		synctest.Wait() // until it has gone through them
		for i := range 20 {
			require.NoError(t, second.Store(t.Context(), sized(1000, fmt.Sprint("honest ", i), "h")), i)
			require.LessOrEqual(t, second.Stats().Bytes, limits.Bytes)
		}
		require.EqualValues(t, 20, second.Stats().GaveWay)
		requireLedgerExact(t, second)
		for name := range heldBy(t, second) {
			require.NotEqual(t, "0", name[:1], "the farthest have gone")
		}
	})
}

// What can not be dropped stays, and is dropped when that works again.
func TestGiveWayInAStoreThatFails(t *testing.T) {
	store := &brokenStore{Store: NewMemoryStore()}
	s := newManager(t, WithStore(store), WithLimits(Limits{Bytes: 10_000, BytesPerSource: 9_000, BytesPerGroup: 9_000}))
	for i := range 9 {
		require.NoError(t, s.Store(t.Context(), sized(1000, fmt.Sprint(i), "s")))
	}
	require.NoError(t, s.Store(t.Context(), sized(1000, "t", "t")))
	store.broken.Store(true)
	for range 3 {
		require.ErrorIs(t, s.Store(t.Context(), sized(1000, "u", "u")), errDisk)
		requireLedgerExact(t, s)
		require.EqualValues(t, 10_000, s.Stats().Bytes)
	}
	store.broken.Store(false)
	requireResidents(t, s, heldBy(t, s))
	require.NoError(t, s.Store(t.Context(), sized(1000, "u", "u")))
	require.EqualValues(t, 1, s.Stats().GaveWay)
	requireLedgerExact(t, s)
}

// Far from this node nothing is taken from strangers while room is scarce, but what is
// their own, what came first-hand, and what is there already.
func TestFarKeys(t *testing.T) {
	const plenty = 5_000
	alice, bob := []byte("alice"), []byte("bob")
	put := func(key string, who []byte) Put {
		return Put{Key: []byte(key), NodeID: who, Value: make([]byte, 100), Source: stranger("s")}
	}
	for name, tt := range map[string]struct {
		bits int
		put  Put
		want error
	}{
		"far":                    {3, put("2 far", alice), ErrFar},
		"near":                   {3, put("3 near", alice), nil},
		"the size is not known":  {0, put("0 far", alice), nil},
		"its own":                {3, put("2 far", alice).from(alice), nil},
		"another's":              {3, put("2 far", alice).from(bob), ErrFar},
		"first-hand":             {3, put("2 far", alice).direct(), nil},
		"a copy":                 {3, put("2 far", alice).direct().copyWith(time.Hour), ErrFar},
		"of this node":           {3, put("2 far", alice).of(Source{}), nil},
		"what is there, renewed": {3, put("2 there", alice), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newManager(t, WithLimits(Limits{Bytes: 20_000, Plenty: plenty, BytesPerSource: 10_000}))
			s.SetNeighbourhood(near{tt.bits})
			require.NoError(t, s.Store(t.Context(), put("2 there", alice)), "there is plenty of room")
			require.NoError(t, s.Store(t.Context(), sized(plenty, "filler", "")))
			err := s.Store(t.Context(), tt.put)
			require.ErrorIs(t, err, tt.want)
			if tt.want != nil {
				require.ErrorIs(t, err, ErrStoreFull)
				require.EqualValues(t, 1, s.Stats().OverBudget)
			}
			s.SetNeighbourhood(nil)
			require.NoError(t, s.Store(t.Context(), put("0 all are near", bob)))
			requireLedgerExact(t, s)
		})
	}
}

// After a restart into a store that is full what an owner has stored, and was told is kept,
// does not go while another has most of the room, though that is not known at once.
func TestNobodyGivesWayUntilAllAreKnown(t *testing.T) {
	store, limits := NewMemoryStore(), Limits{Bytes: 100_000, BytesPerGroup: 60_000, BytesPerSource: 60_000}
	s := restarted(t, store, limits)
	put := func(key, group string) error {
		return s.Store(t.Context(), Put{
			Key: []byte(key), NodeID: []byte(key), From: []byte(key), Value: make([]byte, 400), Source: Source{Name: group, Group: group},
		})
	}
	for i := range 50 {
		require.NoError(t, put(fmt.Sprint("heavy ", i), "heavy"))
	}
	for i := 0; s.Stats().Bytes < limits.Bytes-2000; i++ {
		require.NoError(t, put(fmt.Sprint("other ", i), fmt.Sprint("other ", i)))
	}
	slow := &slowToList{store, make(chan struct{})}
	s = restarted(t, slow, limits)
	var kept []string
	putMore := func() error {
		key := fmt.Sprint("honest ", len(kept))
		err := put(key, "honest")
		if err == nil {
			kept = append(kept, key)
		}
		return err
	}
	for range 20 {
		if err := putMore(); err != nil {
			require.ErrorIs(t, err, ErrStoreFull)
		}
	}
	close(slow.gate)
	require.Eventually(t, func() bool { return putMore() == nil }, 10*time.Second, time.Millisecond, "as soon as all are known")
	for _, key := range kept {
		_, err := s.Values(t.Context(), []byte(key))
		require.NoError(t, err, key)
	}
}

// slowToList is a store that lists no keys until its gate is closed.
type slowToList struct {
	Store
	gate chan struct{}
}

func (s *slowToList) Keys(ctx context.Context, prefix []byte, cursor Cursor, max int) ([][]byte, Cursor, error) {
	<-s.gate
	return s.Store.Keys(ctx, prefix, cursor, max)
}

// What was there before a restart weighs nothing any more once it has been renewed.
func TestWhatWasThereIsRenewed(t *testing.T) {
	store, limits := NewMemoryStore(), Limits{Bytes: 100_000, BytesPerSource: 50_000, Plenty: 100_000}
	s := restarted(t, store, limits)
	put := func() {
		for i := range 20 {
			id := fmt.Append(nil, i)
			require.NoError(t, s.Store(t.Context(), Put{Key: fmt.Append(nil, i%10), NodeID: id, From: id, Source: Source{Name: "s", Group: "g"}}))
		}
	}
	put()
	s = restarted(t, store, limits)
	put()
	s.findResidents(t.Context())
	requireResidents(t, s, heldBy(t, s))
	put()
	requireResidents(t, s, heldBy(t, s))
	s = restarted(t, store, limits)
	s.findResidents(t.Context())
	put()
	requireResidents(t, s, heldBy(t, s))
}

// restarted returns another manager of a store.
func restarted(t *testing.T, store Store, limits Limits) *Manager {
	t.Helper()
	s, err := New(WithStore(store), WithLimits(limits))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// One stranger with more node ids than a key has room for takes no place that another
// has, or wants.
func TestCrowdUnderAKey(t *testing.T) {
	honest := stranger("honest")
	attacker := Source{Name: "attacker"}
	flood := func(t *testing.T, s *Manager, who func(i int) Source, owned bool, n int) (refused int) {
		for i := range n {
			p := Put{Key: key, NodeID: fmt.Append(nil, "attacker ", i), Value: []byte("v"), Source: who(i)}
			if owned {
				p.From = p.NodeID
			}
			err := s.Store(t.Context(), p)
			if errors.Is(err, ErrKeyFull) {
				refused++
			} else {
				require.NoError(t, err)
			}
		}
		return refused
	}
	t.Run("stored first, owned later", func(t *testing.T) {
		s := newManager(t)
		of := func(i int) Source { return Source{Name: fmt.Sprint(i), Group: fmt.Sprint(i % 4)} }
		flood(t, s, of, false, MaxProviders)
		flood(t, s, of, true, MaxProviders)
		recs, err := s.Values(t.Context(), key)
		require.NoError(t, err)
		owned := 0
		for _, r := range recs {
			if r.Owned {
				owned++
			}
		}
		require.LessOrEqual(t, owned, maxOwned)
		require.NoError(t, s.Store(t.Context(), Put{Key: key, NodeID: []byte("later"), Value: []byte("later"), TTL: time.Minute, Source: honest}))
	})
	for name, tt := range map[string]struct {
		who   func(i int) Source
		owned bool
		most  int
	}{
		"one source":             {func(int) Source { return attacker }, false, DefaultProvidersPerSource},
		"one group":              {func(i int) Source { return Source{Name: fmt.Sprint(i), Group: "g"} }, false, DefaultProvidersPerGroup},
		"one group, all owned":   {func(i int) Source { return Source{Name: fmt.Sprint(i), Group: "g"} }, true, DefaultProvidersPerGroup},
		"a source, all owned":    {func(int) Source { return attacker }, true, DefaultProvidersPerGroup},
		"two groups, all owned":  {func(i int) Source { return Source{Name: fmt.Sprint(i), Group: fmt.Sprint(i % 2)} }, true, maxOwned},
		"many groups, all owned": {func(i int) Source { return Source{Name: fmt.Sprint(i), Group: fmt.Sprint(i % 50)} }, true, maxOwned},
		"a source of no group":   {func(i int) Source { return Source{Name: fmt.Sprint(i % 5)} }, false, MaxProviders - 2},
		"so many groups as fill": {func(i int) Source { return Source{Name: fmt.Sprint(i), Group: fmt.Sprint(i % 9)} }, false, MaxProviders - 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newManager(t)
			first := Put{Key: key, NodeID: []byte("first"), Value: []byte("first"), TTL: time.Minute, Source: honest}
			require.NoError(t, s.Store(t.Context(), first), "short-lived, nobody's own")
			flood(t, s, tt.who, tt.owned, MaxProviders+1)
			later := Put{Key: key, NodeID: []byte("later"), Value: []byte("later"), TTL: time.Minute, Source: stranger("honest too")}
			require.NoError(t, s.Store(t.Context(), later))
			flood(t, s, tt.who, tt.owned, 100)
			recs, err := s.Values(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, tt.most+2, len(recs))
			order, payers := InTurn(recs)
			for _, want := range []string{"first", "later"} {
				at := slices.IndexFunc(recs, func(r Record) bool { return string(r.NodeID) == want })
				require.GreaterOrEqual(t, at, 0, want)
				require.Less(t, slices.Index(order, at), payers, "%s is told of among the first", want)
			}
			requireLedgerExact(t, s)
		})
	}
}

func TestInTurn(t *testing.T) {
	a, b, c := Source{Name: "a", Group: "g"}, Source{Name: "b", Group: "g"}, Source{Name: "c"}
	of := func(name string, s Source) Record { return Record{Value: []byte(name), Source: s} }
	own := func(name string, s Source) Record { return Record{Value: []byte(name), Source: s, Owned: true} }
	for name, tt := range map[string]struct {
		recs []Record
		want string
	}{
		"none":                    {nil, ""},
		"one":                     {[]Record{of("1", a)}, "1"},
		"newest first":            {[]Record{of("1", a), of("2", a), of("3", a)}, "1 2 3"},
		"sources in turn":         {[]Record{of("1", a), of("2", a), of("3", a), of("4", c), of("5", c)}, "1 4 2 5 3"},
		"of a group as one":       {[]Record{of("1", a), of("2", b), of("3", c)}, "1 3 2"},
		"owned before others":     {[]Record{of("1", a), own("2", a), of("3", c), own("4", a), own("5", c)}, "2 5 4 3 1"},
		"no network's before all": {[]Record{own("1", a), own("2", a), own("3", b), of("4", c), of("5", c)}, "1 4 2 5 3"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			order, payers := InTurn(tt.recs)
			for _, i := range order {
				got = append(got, string(tt.recs[i].Value))
			}
			require.Equal(t, tt.want, strings.Join(got, " "))
			who := map[string]bool{}
			for i, at := range order {
				require.Equal(t, i < payers, !who[payerOf(tt.recs[at].Source)], "each of the first is of another one")
				who[payerOf(tt.recs[at].Source)] = true
			}
		})
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	require.Equal(t, Limits{
		Bytes: DefaultBytes, BytesPerSource: DefaultBytes / 16, BytesPerGroup: DefaultBytes / 4, Plenty: DefaultBytes / 2,
		ProvidersPerSource: DefaultProvidersPerSource, ProvidersPerGroup: DefaultProvidersPerGroup,
	}, Limits{}.orDefault())
	require.Equal(t, 700, Limits{ProvidersPerSource: 700}.orDefault().ProvidersPerGroup)
	require.Equal(t, 7, Limits{ProvidersPerGroup: 7}.orDefault().ProvidersPerSource)
	require.EqualValues(t, 7, Limits{Plenty: 7}.orDefault().Plenty)
	for name, l := range map[string]Limits{
		"plenty over all":       {Bytes: 1000, Plenty: 1001},
		"negative plenty":       {Plenty: -1},
		"no record of a source": {ProvidersPerSource: -1},
		"a source over a group": {ProvidersPerSource: 5, ProvidersPerGroup: 4},
		"a group over all":      {ProvidersPerGroup: MaxProviders + 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(WithLimits(l))
			require.Error(t, err)
		})
	}
}
