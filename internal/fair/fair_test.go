package fair_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/fair"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func payer(group, name, whom string) fair.Payer {
	return fair.Payer{Source: budget.Source{Name: name, Group: group}, For: whom}
}

// What waits is taken in turn: of groups, in each of sources, in each of whom they speak for.
func TestTurns(t *testing.T) {
	q := fair.New[string](100, fair.Unlimited)
	add := func(by fair.Payer, names ...string) {
		for _, name := range names {
			q.Add(by, name, 1)
		}
	}
	add(payer("flood", "1", ""), "a1", "a2", "a3", "a4")
	add(payer("flood", "2", ""), "b1", "b2")
	add(payer("", "peer", "x"), "x1", "x2")
	add(payer("", "peer", "y"), "y1")
	add(fair.Payer{}, "own")
	var got []string
	for v, ok := q.Pop(); ok; v, ok = q.Pop() {
		got = append(got, v)
	}
	require.Equal(t, []string{"a1", "x1", "own", "b1", "y1", "a2", "x2", "b2", "a3", "a4"}, got)
	require.Zero(t, q.Weight())
}

// Of what is too much the heaviest gives way, and among equals who came.
func TestTheHeaviestGivesWay(t *testing.T) {
	for name, test := range map[string]struct {
		comes  fair.Payer
		oldest bool
		want   string
	}{
		"the newest of a source":          {payer("h", "honest", ""), false, "flood 2"},
		"the oldest of a source":          {payer("h", "honest", ""), true, "flood 0"},
		"who comes where it has most":     {payer("f", "1", ""), false, "came"},
		"another of the heaviest group":   {payer("f", "2", ""), false, "flood 2"},
		"who comes of those that have as": {payer("g", "1", ""), false, "came"},
	} {
		t.Run(name, func(t *testing.T) {
			q := fair.New[string](5, fair.Unlimited)
			for i := range 3 {
				q.Add(payer("f", "1", ""), fmt.Sprint("flood ", i), 1)
			}
			q.Add(payer("g", "1", ""), "other 0", 1)
			q.Add(payer("g", "1", ""), "other 1", 1)
			i := q.GiveWay(q.Add(test.comes, "came", 1), test.oldest)
			require.Equal(t, test.want, i.Value)
			require.Nil(t, q.GiveWay(nil, false))
			require.False(t, q.Leave(i), "it has left")
		})
	}
}

// Nobody has more at once than three times what is free, and who has none always gets
// what is.
func TestSomeIsLeftFree(t *testing.T) {
	q := fair.New[int](100, 8)
	var taken []*fair.Item[int]
	take := func() (n int) {
		for i := q.Take(); i != nil; i = q.Take() {
			taken = append(taken, i)
			n++
		}
		return n
	}
	for range 20 {
		q.Add(payer("f", "1", ""), 1, 1)
	}
	require.Equal(t, 6, take())
	honest := q.Add(payer("h", "honest", ""), 2, 1)
	require.Equal(t, 1, take())
	q.Add(payer("h", "another", ""), 2, 1)
	require.Equal(t, 1, take())
	q.Add(payer("i", "1", ""), 2, 1)
	require.Zero(t, take(), "all are taken")
	require.True(t, q.Leave(honest))
	require.Equal(t, 1, take(), "in turn of those that may")
	one := fair.New[int](10, 1)
	one.Add(fair.Payer{}, 1, 1)
	one.Add(fair.Payer{}, 1, 1)
	require.NotNil(t, one.Take())
	require.Nil(t, one.Take())
}

// Whatever comes and goes, what is counted is what is there.
func TestRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	q := fair.New[int](40, 6)
	waiting, taken := map[*fair.Item[int]]int{}, map[*fair.Item[int]]bool{}
	for range 20_000 {
		switch r.IntN(4) {
		case 0, 1:
			w := 1 + r.IntN(3)
			i := q.Add(payer(fmt.Sprint(r.IntN(3)), fmt.Sprint(r.IntN(3)), fmt.Sprint(r.IntN(2))), w, w)
			waiting[i] = w
			for out := q.GiveWay(i, r.IntN(2) == 0); out != nil; out = q.GiveWay(i, false) {
				require.Contains(t, waiting, out)
				delete(waiting, out)
			}
		case 2:
			if i := q.Take(); i != nil {
				require.Contains(t, waiting, i)
				delete(waiting, i)
				taken[i] = true
			} else {
				require.True(t, len(waiting) == 0 || len(taken) > 0, "somebody gets what is free")
			}
		case 3:
			for i := range waiting {
				require.True(t, q.Leave(i))
				delete(waiting, i)
				break
			}
			for i := range taken {
				require.True(t, q.Leave(i))
				delete(taken, i)
				break
			}
		}
		sum := 0
		for _, w := range waiting {
			sum += w
		}
		require.Equal(t, sum, q.Weight())
		require.LessOrEqual(t, sum, 40)
		require.LessOrEqual(t, len(taken), 6)
	}
}

// work that begins is told to begun, by name.
func work(by fair.Payer, name string, begun, refused *[]string) *fair.Work {
	return &fair.Work{Payer: by, Begin: func() { *begun = append(*begun, name) }, Refused: func() { *refused = append(*refused, name) }}
}

func TestLine(t *testing.T) {
	l := fair.NewLine(1, 3)
	var begun, refused []string
	flood, honest := payer("f", "1", ""), payer("h", "1", "")
	first := work(flood, "first", &begun, &refused)
	l.Enter(first)
	var all []*fair.Work
	for i := range 5 {
		all = append(all, work(flood, fmt.Sprint(i), &begun, &refused))
		l.Enter(all[i])
	}
	require.Equal(t, []string{"first"}, begun)
	require.Equal(t, []string{"3", "4"}, refused)
	h := work(honest, "honest", &begun, &refused)
	l.Enter(h)
	require.Equal(t, []string{"3", "4", "2"}, refused, "the heaviest gives way")
	never := work(honest, "never", &begun, &refused)
	l.Leave(never)
	l.Enter(never)
	l.Leave(all[0])
	l.Leave(first)
	l.Leave(first)
	require.Equal(t, []string{"first", "1"}, begun)
	l.Leave(all[1])
	require.Equal(t, []string{"first", "1", "honest"}, begun)
	l.Leave(h)
	require.Equal(t, []string{"first", "1", "honest"}, begun)
}

// What ends within Begin does not nest, and many may enter and leave at once.
func TestLineIsShared(t *testing.T) {
	l := fair.NewLine(3, 10_000)
	var mu sync.Mutex
	now, most, done := 0, 0, 0
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for range 1000 {
				w := &fair.Work{Payer: payer(fmt.Sprint(g), "1", ""), Refused: func() { panic("there is room") }}
				w.Begin = func() {
					mu.Lock()
					now++
					most = max(most, now)
					mu.Unlock()
					end := func() {
						mu.Lock()
						now--
						done++
						mu.Unlock()
						l.Leave(w)
					}
					if g%2 == 0 {
						end()
						return
					}
					all.Go(end)
				}
				l.Enter(w)
			}
		})
	}
	all.Wait()
	require.Equal(t, 8000, done)
	require.LessOrEqual(t, most, 3)
}

// A Begin that panics takes neither the line nor its place with it.
func TestLineOutlivesAPanic(t *testing.T) {
	l := fair.NewLine(1, 3)
	require.Panics(t, func() { l.Enter(&fair.Work{Begin: func() { panic("broken") }}) })
	var begun, refused []string
	l.Enter(work(fair.Payer{}, "next", &begun, &refused))
	require.Equal(t, []string{"next"}, begun)
}

// Who enters is not kept by what others enter meanwhile without end.
func TestNobodyBeginsAllWork(t *testing.T) {
	l := fair.NewLine(1, 1)
	stop := make(chan struct{})
	var others sync.WaitGroup
	var entering atomic.Int64
	flood := func(i int) {
		for {
			select {
			case <-stop:
				return
			default:
				entering.Add(1)
				l.Enter(&fair.Work{Payer: payer("flood", fmt.Sprint(i), ""), Refused: func() { time.Sleep(100 * time.Microsecond) }})
			}
		}
	}
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		l.Enter(&fair.Work{Payer: payer("h", "honest", ""), Begin: func() {
			for i := range 4 {
				others.Go(func() { flood(i) })
			}
			for entering.Load() < 4 {
				runtime.Gosched()
			}
		}})
	}()
	late := false
	select {
	case <-returned:
	case <-time.After(3 * time.Second):
		late = true
	}
	close(stop)
	others.Wait()
	<-returned
	require.False(t, late, "who entered once does the work of the flood")
}

// What many want is done once, at the turn of whoever's comes first.
func TestOnce(t *testing.T) {
	flood, honest := payer("f", "1", ""), payer("h", "1", "")
	l := fair.NewLine(1, 4)
	var begun, refused []string
	first, flooded := work(flood, "first", &begun, &refused), work(flood, "before 0", &begun, &refused)
	l.Enter(first)
	l.Enter(flooded)
	l.Enter(work(flood, "before 1", &begun, &refused))
	var gaveWay []fair.Payer
	shared := fair.NewOnce(l, func(func()) { begun = append(begun, "shared") }, func(by fair.Payer) { gaveWay = append(gaveWay, by) })
	shared.Want(flood)
	shared.Want(honest)
	shared.Want(honest)
	l.Leave(first)
	require.Equal(t, []string{"first", "before 0"}, begun, "the flood's turn")
	require.Empty(t, gaveWay)
	l.Enter(work(payer("g", "1", ""), "another's", &begun, &refused))
	l.Enter(work(payer("i", "1", ""), "another's", &begun, &refused))
	require.Equal(t, []fair.Payer{flood}, gaveWay, "the newest of who has most")
	shared.Want(flood)
	require.Equal(t, []fair.Payer{flood, flood}, gaveWay, "which may want it again")
	l.Leave(flooded)
	require.Equal(t, []string{"first", "before 0", "shared"}, begun, "at the turn of the other")
}

// Once it has begun, or nobody wants it, it has one place or none.
func TestOncePlaces(t *testing.T) {
	for name, test := range map[string]func(o *fair.Once, leave func()){
		"begun":     func(o *fair.Once, leave func()) { o.Want(payer("late", "1", "")); leave() },
		"forgotten": func(o *fair.Once, leave func()) { o.Forget(); leave() },
	} {
		t.Run(name, func(t *testing.T) {
			l := fair.NewLine(1, 10)
			hold := &fair.Work{Begin: func() {}}
			l.Enter(hold)
			begun := 0
			end := func() {}
			o := fair.NewOnce(l, func(leave func()) { begun++; end = leave }, nil)
			for i := range 5 {
				o.Want(payer(fmt.Sprint(i), "1", ""))
			}
			if name == "begun" {
				l.Leave(hold)
				require.Equal(t, 1, begun)
				test(o, end)
			} else {
				test(o, func() { l.Leave(hold) })
				require.Zero(t, begun)
			}
			var next, refused []string
			l.Enter(work(fair.Payer{}, "next", &next, &refused))
			require.Equal(t, []string{"next"}, next)
		})
	}
}

// What one who has too much pays for stays where others use it, and what nobody else uses
// goes.
func TestCommons(t *testing.T) {
	flood, honest := payer("f", "1", ""), payer("h", "1", "")
	c := fair.NewCommons[string](5)
	use := func(by fair.Payer, thing, gone string) {
		t.Helper()
		got, gaveWay := c.Use(by, thing)
		require.Equal(t, gone != "", gaveWay)
		require.Equal(t, gone, got)
	}
	for _, thing := range []string{"a", "b", "c", "d", "common"} {
		use(flood, thing, "")
	}
	use(honest, "common", "")
	use(honest, "own", "d") // and honest pays for what is common
	use(flood, "e", "e")
	require.Equal(t, 5, c.Len())
	c.Leave(honest, "common") // which is the flood's again
	use(honest, "second", "c")
	c.Leave(payer("s", "1", ""), "common")
	c.Leave(flood, "common")
	require.Equal(t, 5, c.Len(), "it stays until it is removed")
	c.Remove("common")
	c.Remove("common")
	use(flood, "f", "")
	c.Leave(flood, "d") // which gave way
	require.Equal(t, 5, c.Len())
}

// Where all use all, one goes.
func TestCommonsOfAll(t *testing.T) {
	c := fair.NewCommons[int](10)
	for thing := range 11 {
		gone := 0
		for by := range 5 {
			if _, gaveWay := c.Use(payer(fmt.Sprint(by), "1", ""), thing); gaveWay {
				gone++
			}
		}
		if thing == 10 {
			require.NotZero(t, gone)
		} else {
			require.Zero(t, gone)
		}
	}
	require.Equal(t, 10, c.Len())
}

// What one group shares among many payers, who is full of it, costs who comes next no more
// than what nobody shares does, within a few times.
func BenchmarkCommons(b *testing.B) {
	const room = 4096
	for _, sharers := range []int{1, 128} {
		b.Run(fmt.Sprint(sharers, " sharers"), func(b *testing.B) {
			c := fair.NewCommons[int](room)
			for thing := range room {
				if thing >= room/4 {
					c.Use(payer(fmt.Sprint(thing), "1", ""), thing)
					continue
				}
				for by := range sharers {
					c.Use(payer("group", fmt.Sprint(by), ""), thing)
				}
			}
			thing := room
			for b.Loop() {
				c.Use(payer("group", "0", ""), thing)
				thing++
			}
		})
	}
}
