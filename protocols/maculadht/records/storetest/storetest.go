// Package storetest has the tests that every [records.Store] must pass.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Run tests a kind of store. open returns an empty one, which Run closes; it is
// called for each test.
func Run(t *testing.T, open func(t *testing.T) records.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s *store)
	}{
		{"a key that is not there", testAbsent},
		{"records come back as they were", testFaithful},
		{"an update sees what is there", testUpdateSees},
		{"an update that changes nothing", testUpdateOfNothing},
		{"updates take effect in the order of the calls", testUpdateOrder},
		{"updates are done once", testUpdateDone},
		{"an empty list removes the key", testRemove},
		{"snapshots do not change", testSnapshots},
		{"keys are not kept", testKeysAreNotKept},
		{"keys are the caller's", testKeysAreTheCallers},
		{"updates of a key follow one another", testUpdatesAreAtomic},
		{"readers see all of an update or nothing", testReadsAreAtomic},
		{"pages have every key once", testPages},
		{"pages have what is there throughout while others come and go", testPagesWhileOthersWrite},
		{"a page holds nothing", testPageHoldsNothing},
		{"walks begin at different places", testWalksBeginAnywhere},
		{"what has expired is found exactly", testExpired},
		{"usage is exact", testUsage},
		{"a context that has ended", testContext},
		{"a name of 16 random bytes", testID},
		{"updates that were called are done when it is closed", testCloseFinishes},
		{"all at once", testAllAtOnce},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &store{Store: open(t), t: t}
			defer func() {
				if !s.closed {
					require.NoError(t, s.Failing())
					require.NoError(t, s.Close())
				}
			}()
			tt.run(t, s)
		})
	}
}

// RunDurable tests a kind of store that outlives the process, as Run does and by
// opening it again. open opens what is in dir, which is empty the first time.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) records.Store) {
	Run(t, func(t *testing.T) records.Store { return open(t, t.TempDir()) })
	t.Run("opened again", func(t *testing.T) {
		dir, m, rng := t.TempDir(), model{}, newRand(7)
		var id []byte
		for i := range 5 {
			s := &store{Store: open(t, dir), t: t}
			if i > 0 {
				require.Equal(t, id, s.ID())
			}
			id = bytes.Clone(s.ID())
			m.require(s)
			m.write(s, rng, 300)
			m.require(s)
			require.NoError(t, s.Close())
		}
	})
}

// start is a time to reckon from, with nothing smaller than a nanosecond to lose.
var start = time.Unix(1_700_000_000, 123_456_789)

// store is a store in a test, which fails with any error.
type store struct {
	records.Store
	t      *testing.T
	closed bool // by the test
}

// update has a store update a key, and waits for it.
func (s *store) update(ctx context.Context, key string, change func(old []records.Record) []records.Record) error {
	done := make(chan error, 1)
	s.Update(ctx, []byte(key), records.Soon, change, func(err error) { done <- err })
	return <-done
}

func (s *store) get(key string) []records.Record {
	recs, err := s.Get(s.t.Context(), []byte(key))
	require.NoError(s.t, err)
	return recs
}

// put makes recs the records of a key.
func (s *store) put(key string, recs ...records.Record) {
	require.NoError(s.t, s.update(s.t.Context(), key, func([]records.Record) []records.Record { return recs }))
}

// walk returns the keys with a prefix in pages, as they come.
func (s *store) walk(prefix string, max int, between func(page []string)) (all []string) {
	for cursor, pages := records.Cursor(""), 0; ; pages++ {
		require.Less(s.t, pages, 1_000_000, "a walk ends")
		keys, next, err := s.Keys(s.t.Context(), []byte(prefix), cursor, max)
		require.NoError(s.t, err)
		require.LessOrEqual(s.t, len(keys), max)
		var page []string
		for _, key := range keys {
			require.True(s.t, strings.HasPrefix(string(key), prefix), "%q begins with %q", key, prefix)
			page = append(page, string(key))
		}
		all = append(all, page...)
		if between != nil {
			between(page)
		}
		if next == "" {
			return all
		}
		cursor = next
	}
}

// expired returns the keys that have expired at a time.
func (s *store) expired(now time.Time, max int) []string {
	keys, err := s.Expired(s.t.Context(), now, max)
	require.NoError(s.t, err)
	require.LessOrEqual(s.t, len(keys), max)
	return texts(keys)
}

func (s *store) usage() records.Usage {
	usage, err := s.Usage(s.t.Context())
	require.NoError(s.t, err)
	return usage
}

func texts(keys [][]byte) []string {
	out := []string{}
	for _, key := range keys {
		out = append(out, string(key))
	}
	return out
}

// rec returns a record that expires so long after the start.
func rec(value string, life time.Duration) records.Record {
	return records.Record{Value: []byte(value), NodeID: []byte(value), Expires: start.Add(life), Source: records.Source{Name: "s", Group: "g"}}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// requireSame compares lists of records. That of a time its location, or a clock
// that only a process has, is not kept does not matter, nor does what is the store's own.
func requireSame(t *testing.T, want, got []records.Record, what ...any) {
	t.Helper()
	require.Len(t, got, len(want), what...)
	for i, w := range want {
		g := got[i]
		require.True(t, w.Expires.Equal(g.Expires), "expires %v, not %v", g.Expires, w.Expires)
		w.Expires, g.Expires = time.Time{}, time.Time{}
		w.Place, g.Place = 0, 0
		require.Equal(t, w, g, what...)
	}
}

func testAbsent(t *testing.T, s *store) {
	require.Empty(t, s.get("nothing"))
	require.Empty(t, s.walk("", 10, nil))
	require.Empty(t, s.expired(start.Add(1000*time.Hour), 10))
	require.Zero(t, s.usage().Keys)
	require.Empty(t, s.usage().Sources)
	s.put("nothing")
	require.Empty(t, s.walk("", 10, nil))
}

func testFaithful(t *testing.T, s *store) {
	lists := map[string][]records.Record{
		"one":                              {rec("a", time.Second)},
		"in order":                         {rec("c", 3), rec("a", 1), rec("b", 2)},
		"no node id":                       {{Value: []byte("v"), Expires: start}},
		"empty one":                        {{Value: []byte("v"), NodeID: []byte{}, Expires: start}},
		"owned":                            {{Value: []byte("v"), NodeID: []byte("n"), Expires: start, Owned: true, Source: records.Source{Name: "source", Group: "group"}}},
		"direct":                           {{Value: []byte("v"), NodeID: []byte("n"), Expires: start, Direct: true, Source: records.Source{Name: "source", Group: "group"}}},
		"proved":                           {{Value: []byte("v"), NodeID: []byte("n"), Expires: start, Owned: true, Proof: &records.Proof{Envelope: []byte("proof\x00\xff"), Sequence: 1 << 60, Expires: -1}}},
		"withdrawn":                        {rec("v", 0), {NodeID: []byte("n"), Expires: start, Owned: true, Proof: &records.Proof{Envelope: []byte("proof"), Sequence: 1, Expires: 2}}},
		"bytes":                            {{Value: []byte{0, 0xff, 0}, NodeID: []byte{0}, Expires: start, Source: records.Source{Name: "\x00\xff", Group: "\xff\x00"}}},
		"no group":                         {{Value: []byte("v"), Expires: start, Source: records.Source{Name: "s"}}},
		"\x00\xff\x00":                     {rec("a", 0)},
		"":                                 {rec("empty key", 0)},
		"large":                            {{Value: bytes.Repeat([]byte("x"), values.MaxSize), NodeID: bytes.Repeat([]byte("n"), wire.MaxField), Expires: start}},
		"to the ns":                        {rec("a", 1), rec("b", 999_999_999)},
		"already over":                     {{Value: []byte("v"), Expires: time.Unix(1, 0)}},
		strings.Repeat("k", wire.MaxField): {rec("a", 0)},
	}
	many := make([]records.Record, records.MaxProviders)
	for i := range many {
		many[i] = rec(fmt.Sprint(i), time.Duration(i))
	}
	lists["many"] = many
	for key, recs := range lists {
		s.put(key, recs...)
	}
	for key, recs := range lists {
		requireSame(t, recs, s.get(key), "%q", key)
	}
	require.Len(t, s.walk("", 3, nil), len(lists))
}

func testUpdateSees(t *testing.T, s *store) {
	calls := 0
	update := func(want []records.Record, next ...records.Record) {
		require.NoError(t, s.update(t.Context(), "k", func(old []records.Record) []records.Record {
			calls++
			requireSame(t, want, old)
			return next
		}))
	}
	a, b := rec("a", 1), rec("b", 2)
	update(nil, a)
	update([]records.Record{a}, b, a)
	update([]records.Record{b, a}, b)
	update([]records.Record{b})
	update(nil, a)
	require.Equal(t, 5, calls, "once each")
}

func testUpdateOfNothing(t *testing.T, s *store) {
	s.put("k", rec("a", 1), rec("b", 2))
	usage := s.usage()
	require.NoError(t, s.update(t.Context(), "k", func(old []records.Record) []records.Record { return old }))
	requireSame(t, []records.Record{rec("a", 1), rec("b", 2)}, s.get("k"))
	require.Equal(t, usage, s.usage())
	require.Equal(t, []string{"k"}, s.walk("", 10, nil))
	require.Equal(t, []string{"k"}, s.expired(start.Add(1), 10))
}

func testRemove(t *testing.T, s *store) {
	for _, empty := range [][]records.Record{nil, {}} {
		s.put("k", rec("a", 1))
		s.put("other", rec("a", 1))
		s.put("k", empty...)
		require.Empty(t, s.get("k"))
		require.Equal(t, []string{"other"}, s.walk("", 10, nil))
		require.Equal(t, []string{"other"}, s.expired(start.Add(time.Hour), 10))
		require.EqualValues(t, 1, s.usage().Keys)
	}
}

func testSnapshots(t *testing.T, s *store) {
	s.put("k", rec("a", 1), rec("b", 2))
	before := s.get("k")
	s.put("k", rec("c", 3))
	requireSame(t, []records.Record{rec("a", 1), rec("b", 2)}, before)
	s.put("k")
	requireSame(t, []records.Record{rec("a", 1), rec("b", 2)}, before)
}

func testKeysAreNotKept(t *testing.T, s *store) {
	key, done := []byte("key"), make(chan error, 1)
	s.Update(t.Context(), key, records.Soon, func([]records.Record) []records.Record { return []records.Record{rec("a", 1)} },
		func(err error) { done <- err })
	require.NoError(t, <-done)
	copy(key, "xxx")
	require.Equal(t, []string{"key"}, s.walk("", 10, nil))
	requireSame(t, []records.Record{rec("a", 1)}, s.get("key"))
}

func testKeysAreTheCallers(t *testing.T, s *store) {
	s.put("a", rec("a", 1))
	s.put("b", rec("b", 2))
	for range 2 {
		keys, _, err := s.Keys(t.Context(), nil, "", 10)
		require.NoError(t, err)
		expired, err := s.Expired(t.Context(), start.Add(time.Hour), 10)
		require.NoError(t, err)
		for _, list := range [][][]byte{keys, expired} {
			require.ElementsMatch(t, []string{"a", "b"}, texts(list))
			for i := range list {
				list[i][0] = 'x'
				_ = append(list[i], "xxx"...)
			}
		}
	}
	requireSame(t, []records.Record{rec("a", 1)}, s.get("a"))
}

// count is a value that is a number.
func count(recs []records.Record) (n int) {
	if len(recs) > 0 {
		fmt.Sscan(string(recs[0].Value), &n)
	}
	return n
}

func testUpdatesAreAtomic(t *testing.T, s *store) {
	const writers, each = 8, 100
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := s.update(t.Context(), "k", func(old []records.Record) []records.Record {
					return []records.Record{rec(fmt.Sprint(count(old)+1), 1)}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, writers*each, count(s.get("k")))
}

func testReadsAreAtomic(t *testing.T, s *store) {
	list := func(n int) (recs []records.Record) {
		for range 1 + n%5 {
			recs = append(recs, rec(fmt.Sprint(n), time.Duration(n)))
		}
		return recs
	}
	s.put("k", list(0)...)
	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_ = s.update(t.Context(), "k", func([]records.Record) []records.Record { return list(n) })
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	for range 500 {
		got := s.get("k")
		requireSame(t, list(count(got)), got)
	}
}

func testExpired(t *testing.T, s *store) {
	rng := newRand(2)
	lists := map[string][]records.Record{}
	check := func() {
		for _, at := range []time.Duration{0, 1, 5, 19, 20, 40, 1000} {
			now := start.Add(at)
			want := []string{}
			for key, recs := range lists {
				if slices.ContainsFunc(recs, func(r records.Record) bool { return !r.Live(now) }) {
					want = append(want, key)
				}
			}
			require.ElementsMatch(t, want, s.expired(now, 1000), "at %v", at)
			for _, max := range []int{1, 7} {
				some := s.expired(now, max)
				require.Len(t, some, min(max, len(want)), "fewer than there may be are all")
				require.Subset(t, want, some)
				slices.Sort(some)
				require.Len(t, slices.Compact(some), len(some), "each once")
			}
		}
	}
	for i := range 1500 {
		key := fmt.Sprint([]string{wire.GatewayPrefix, ""}[i%2], rng.IntN(80))
		var recs []records.Record
		for range rng.IntN(4) {
			recs = append(recs, rec(fmt.Sprint(i), time.Duration(rng.IntN(40))))
		}
		s.put(key, recs...)
		if lists[key] = recs; len(recs) == 0 {
			delete(lists, key)
		}
		if i%50 == 0 {
			check()
		}
	}
	check()
}

func testUsage(t *testing.T, s *store) {
	m, rng := model{}, newRand(3)
	for range 40 {
		m.write(s, rng, 40)
		m.require(s)
	}
	for key := range m {
		s.put(key)
	}
	require.Equal(t, records.Usage{Sources: map[records.Source]records.SourceUsage{}}, s.usage())
}

// model is what a store should hold.
type model map[string][]records.Record

// write changes n random keys in the model and in the store.
func (m model) write(s *store, rng *rand.Rand, n int) {
	for range n {
		key := fmt.Sprint([]string{wire.GatewayPrefix, ""}[rng.IntN(2)], rng.IntN(50))
		recs := slices.Clone(m[key])
		switch rng.IntN(4) {
		case 0:
			recs = nil
		case 1:
			recs = recs[:len(recs)/2]
		default:
			r := rec(strings.Repeat("v", rng.IntN(100)), time.Duration(rng.IntN(100)))
			r.Owned = rng.IntN(2) == 0
			r.Source = []records.Source{{}, {Name: "s"}, {Name: "s", Group: "g"}, {Name: "t", Group: "g"}, {Name: "s", Group: "h"}}[rng.IntN(5)]
			recs = slices.Insert(recs, 0, r)
		}
		s.put(key, recs...)
		if m[key] = recs; len(recs) == 0 {
			delete(m, key)
		}
	}
}

// require fails unless a store holds just what the model does, by each of its
// methods.
func (m model) require(s *store) {
	s.t.Helper()
	want := records.Usage{Sources: map[records.Source]records.SourceUsage{}}
	keys, due := []string{}, []string{}
	for key, recs := range m {
		requireSame(s.t, recs, s.get(key))
		want.Keys++
		keys = append(keys, key)
		for _, r := range recs {
			u := want.Sources[r.Source]
			u.Records++
			u.Bytes += int64(len(key) + len(r.Value))
			want.Sources[r.Source] = u
			if r.Owned {
				want.Owned.Records++
				want.Owned.Bytes += int64(len(key) + len(r.Value))
			}
		}
		if slices.ContainsFunc(recs, func(r records.Record) bool { return !r.Live(start.Add(50)) }) {
			due = append(due, key)
		}
	}
	require.Equal(s.t, want, s.usage())
	require.ElementsMatch(s.t, keys, s.walk("", 20, nil))
	require.ElementsMatch(s.t, due, s.expired(start.Add(50), 1000))
}

func testContext(t *testing.T, s *store) {
	s.put("k", rec("a", 1))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer end()
	for _, tt := range []struct {
		ctx  context.Context
		want error
	}{{cancelled, context.Canceled}, {late, context.DeadlineExceeded}} {
		_, err := s.Get(tt.ctx, []byte("k"))
		require.ErrorIs(t, err, tt.want)
		err = s.update(tt.ctx, "k", func([]records.Record) []records.Record {
			t.Error("changed all the same")
			return nil
		})
		require.ErrorIs(t, err, tt.want)
		_, _, err = s.Keys(tt.ctx, nil, "", 10)
		require.ErrorIs(t, err, tt.want)
		_, err = s.Expired(tt.ctx, start.Add(time.Hour), 10)
		require.ErrorIs(t, err, tt.want)
		_, err = s.Usage(tt.ctx)
		require.ErrorIs(t, err, tt.want)
	}
	requireSame(t, []records.Record{rec("a", 1)}, s.get("k"))
}

// Everything at once: the race detector looks on, and in the end all methods agree.
func testAllAtOnce(t *testing.T, s *store) {
	var wg sync.WaitGroup
	models := make([]model, 4)
	for w := range models {
		models[w] = model{}
		wg.Go(func() {
			rng := newRand(uint64(w))
			for i := range 200 {
				key := fmt.Sprint([]string{wire.GatewayPrefix, ""}[i%2], "of ", w, ": ", rng.IntN(20))
				recs := []records.Record{rec(fmt.Sprint(i), time.Duration(rng.IntN(100)))}
				if rng.IntN(3) == 0 {
					recs = nil
				}
				s.put(key, recs...)
				if models[w][key] = recs; len(recs) == 0 {
					delete(models[w], key)
				}
				switch i % 20 {
				case 0:
					s.walk("", 30, nil)
				case 5:
					s.walk(wire.GatewayPrefix, 30, nil)
				case 10:
					s.expired(start.Add(50), 10)
				case 15:
					s.usage()
				}
			}
		})
	}
	wg.Wait()
	all := model{}
	for _, m := range models {
		for key, recs := range m {
			all[key] = recs
		}
	}
	all.require(s)
}
