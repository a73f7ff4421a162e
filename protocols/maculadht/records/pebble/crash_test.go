package pebble

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

var cuts = flag.Int("cuts", 100, "power cuts")

// A cut is made after so many of the operations of one life of a store.
const opsPerLife = 60

// powered is a store on a disk whose power fails, and what it must have afterwards: of
// each key the lists since the last one that was synced, any of which may be there.
type powered struct {
	disk    *vfs.MemFS
	store   *Store
	rng     *rand.Rand
	allowed map[string][][]string
	state   map[string][]string
	lost    int
}

func (p *powered) open(t *testing.T) {
	var err error
	p.store, err = Open("store", us, WithFS(p.disk))
	require.NoError(t, err)
}

// note has a key hold a list, surely or maybe.
func note(allowed map[string][][]string, key string, list []string, surely bool) {
	if surely {
		allowed[key] = nil
	}
	allowed[key] = append(allowed[key], list)
}

// step does something, without waiting for what need not be synced. It returns what is
// still under way.
func (p *powered) step(t *testing.T) (waits func()) {
	key := fmt.Sprint("key ", p.rng.IntN(6))
	lists := p.allowed[key]
	list := lists[len(lists)-1]
	switch value := fmt.Sprintf("%d %0*d", p.rng.IntN(10_000), p.rng.IntN(3)*3000, 0); p.rng.IntN(6) {
	case 0:
		list = nil
	case 1:
		list = list[:len(list)/2]
	case 2:
		st := fmt.Sprint(p.rng.IntN(1000))
		require.NoError(t, p.store.State().Put(t.Context(), []byte("state"), []byte(st)))
		p.state["state"] = []string{st}
		return func() {}
	default:
		list = append([]string{value}, list[:min(len(list), 4)]...)
	}
	var recs []records.Record
	for _, value := range list {
		recs = append(recs, rec(value, time.Hour))
	}
	d := records.Durability(p.rng.IntN(2))
	done := make(chan error, 1)
	p.store.Update(t.Context(), []byte(key), d, func([]records.Record) []records.Record { return recs }, func(err error) { done <- err })
	if d == records.Soon {
		note(p.allowed, key, list, false)
		return func() { require.NoError(t, <-done) }
	}
	note(p.allowed, key, list, false)
	require.NoError(t, <-done)
	note(p.allowed, key, list, true)
	return func() {}
}

// cut takes the power away: of what was not synced, share percent of the writes are on
// the disk.
func (p *powered) cut(t *testing.T, share int) {
	old := p.store
	p.disk = p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: share, RNG: p.rng})
	_ = old.Close()
	p.open(t)
	for key, lists := range p.allowed {
		recs, err := p.store.Get(t.Context(), []byte(key))
		require.NoError(t, err)
		got := values(recs)
		at := -1
		for i, list := range lists {
			if len(got) == len(list) && fmt.Sprint(got) == fmt.Sprint(list) {
				at = i
			}
		}
		if at < 0 {
			require.Failf(t, "lost", "%s holds %.60q; it may hold %d lists, the first %.60q", key, got, len(lists), lists[0])
		}
		p.lost += len(lists) - 1 - at
		note(p.allowed, key, lists[at], true)
	}
	got := map[string][]string{}
	require.NoError(t, p.store.State().Entries(t.Context(), func(key, value []byte) bool {
		got[string(key)] = []string{string(value)}
		return true
	}))
	require.Equal(t, p.state, got)
}

// The power fails after any operation, with any part of what was not synced on the
// disk: what was synced is there, and what was replaced or taken away does not come
// back.
func TestPowerCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	began := time.Now()
	const workers = 2
	var all sync.WaitGroup
	var made, unsynced [workers]int
	for w := range workers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for made[w] < *cuts/workers {
				p := &powered{disk: vfs.NewCrashableMem(), rng: rng, allowed: map[string][][]string{}, state: map[string][]string{}}
				for i := range 6 {
					p.allowed[fmt.Sprint("key ", i)] = [][]string{nil}
				}
				p.open(t)
				for range 10 { // lives, on the same disk
					ops := rng.IntN(opsPerLife)
					var under []func()
					for range ops {
						under = append(under, p.step(t))
					}
					p.cut(t, []int{0, 100, rng.IntN(101)}[rng.IntN(3)])
					for _, wait := range under {
						wait()
					}
					made[w]++
					if t.Failed() {
						break
					}
				}
				unsynced[w] += p.lost
				require.NoError(t, p.store.Close())
			}
		})
	}
	all.Wait()
	t.Logf("%d cuts in %v, seed %d: nothing synced was lost, %d updates that were not were", made[0]+made[1],
		time.Since(began).Round(time.Millisecond), seed, unsynced[0]+unsynced[1])
	require.Positive(t, unsynced[0]+unsynced[1], "a disk that loses nothing proves nothing")
}

// What need not be synced is within 100 ms, by the clock of a disk that takes 20 ms for a
// sync; what is lost before, at a power cut, is all that is.
func TestSyncedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		var isOpen atomic.Bool // time stands still while somebody waits for a lock of Pebble's
		disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if isSync(op) && isOpen.Load() {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		}))
		s, err := Open("store", us, WithFS(disk))
		require.NoError(t, err)
		isOpen.Store(true)
		for i := range 20 {
			key := fmt.Sprint(i)
			require.NoError(t, set(s, key, records.Soon, rec("v", time.Hour)))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			after := mem.CrashClone(vfs.CrashCloneCfg{})
			again, err := Open("store", us, WithFS(after))
			require.NoError(t, err)
			recs, err := again.Get(t.Context(), []byte(key))
			require.NoError(t, err)
			require.Len(t, recs, 1, key)
			require.NoError(t, again.Close())
			time.Sleep(time.Duration(i) * 7 * time.Millisecond) // before or after a look at the disk
		}
		require.NoError(t, s.Close())
	})
}

// The directories in which a store is made are there after a power cut, as it is.
func TestDirectoriesSurvive(t *testing.T) {
	for _, dir := range []string{"store", "a/store", "a/b/c/store"} {
		t.Run(dir, func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			if dir == "a/store" { // by a process that ended before it synced
				require.NoError(t, disk.MkdirAll("a", 0o700))
			}
			s := open(t, dir, WithFS(disk))
			require.NoError(t, set(s, "k", records.Synced, rec("v", time.Hour)))
			held{"k": {"v"}}.require(t, open(t, dir, WithFS(disk.CrashClone(vfs.CrashCloneCfg{}))))
		})
	}
}

// A process that is killed after the wall clock has been set, and that one alone, gives
// no record more life and takes none.
func TestClockAtAKill(t *testing.T) {
	for name, tt := range map[string]struct {
		open, closed, again time.Duration // by which the clock is set while the store is open, and while it is not
		want                time.Duration // what is left of an hour
	}{
		"set ahead":                  {2 * time.Hour, 0, 0, time.Hour},
		"set back, and down for 2 h": {-2 * time.Hour, 2 * time.Hour, 0, -time.Hour},
		"set back, and again":        {-2 * time.Hour, -2 * time.Hour, 0, time.Hour},
		"down for 2 h, and set back": {0, 2 * time.Hour, -2 * time.Hour, -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var step atomic.Int64
				wall := withStep(func() time.Duration { return time.Duration(step.Load()) })
				disk := vfs.NewCrashableMem()
				s, err := Open("store", us, WithFS(disk), wall)
				require.NoError(t, err)
				require.NoError(t, set(s, "k", records.Synced, rec("v", time.Hour)))
				left := func() time.Duration {
					recs, err := s.Get(t.Context(), []byte("k"))
					require.NoError(t, err)
					return time.Until(recs[0].Expires)
				}
				cut := func(set time.Duration) {
					disk = disk.CrashClone(vfs.CrashCloneCfg{})
					_ = s.Close()
					step.Add(int64(set))
					s, err = Open("store", us, WithFS(disk), wall)
					require.NoError(t, err)
				}
				step.Add(int64(tt.open))
				time.Sleep(1100 * time.Millisecond)
				synctest.Wait()
				cut(tt.closed)
				require.InDelta(t, tt.want, left(), float64(3*time.Second))
				cut(tt.again) // at once: what was read at Open is on the disk
				require.InDelta(t, tt.want, left(), float64(3*time.Second))
				require.NoError(t, s.Close())
			})
		})
	}
}
