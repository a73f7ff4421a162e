package resolver

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// followers is a Follower, with the keys that are followed.
type followers struct {
	mu   sync.Mutex
	open map[string]*followed
	sum  int // of all that ever were
}

type followed struct {
	all     *followers
	key     string
	changed func()
	renewed int // guarded by all.mu
	changes int // the same
}

func (f *followers) Follow(key []byte, changed func()) Following {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = make(map[string]*followed)
	}
	f.sum++
	one := &followed{all: f, key: string(key), changed: changed}
	f.open[one.key] = one
	return one
}

func (f *followers) now() map[string]*followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.open)
}

func (f *followers) ever() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sum
}

func (f *followed) Looked(closest []routing.Contact, change bool) {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	f.renewed += min(1, len(closest))
	if change {
		f.changes++
	}
}

func (f *followed) renewals() int {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	return f.renewed
}

func (f *followed) changesFound() int {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	return f.changes
}

func (f *followed) Close() {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	delete(f.all.open, f.key)
}

// Who asks for what was found sees a change a second after it was told, and not when what is
// remembered would be looked up again; what changes all the time is looked up each second.
func TestWhatIsFollowedIsFresh(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.SetOther(has(value("a", 3600)))
		d := newDoor(t, s.Server, s)
		defer d.close()
		var f followers
		d.resolver.SetFollower(&f)
		ask := func(want ...string) {
			t.Helper()
			values, _ := d.erlang().find(s.Target[:])
			require.Len(t, values, len(want))
			for i, name := range want {
				id, _ := values[i].Field("node_id")
				text, _ := id.Bytes()
				require.Equal(t, string(provider(name)), string(text))
			}
		}
		ask("a")
		one := f.now()[string(s.Target[:])]
		require.NotNil(t, one)
		require.Equal(t, 1, one.renewals())

		s.SetOther(has(value("b", 3600)))
		time.Sleep(5 * time.Second)
		ask("a") // nobody has told
		one.changed()
		time.Sleep(10 * time.Millisecond)
		ask("b")
		require.Equal(t, 2, one.renewals())
		require.Equal(t, 2, one.changesFound())

		before := questions(s, nil)
		for range 100 {
			one.changed()
			time.Sleep(100 * time.Millisecond)
		}
		require.InDelta(t, 10, questions(s, nil)-before, 1)
		require.Equal(t, 2, one.changesFound(), "it was told in vain")

		s.SetOther(names())
		one.changed()
		time.Sleep(2 * time.Second)
		require.Empty(t, f.now(), "it is gone")
		one.changed()
		ask()

		time.Sleep(time.Minute)
		s.SetOther(has(value("c", 3600)))
		ask("c")
		one = f.now()[string(s.Target[:])]
		require.Equal(t, 2, f.ever())
		time.Sleep(d.resolver.limits.KeepFresh - time.Second)
		require.NotEmpty(t, f.now())
		time.Sleep(2 * time.Second)
		before = questions(s, nil)
		one.changed() // nobody asks for it any more
		time.Sleep(2 * time.Second)
		require.Empty(t, f.now())
		require.Equal(t, before, questions(s, nil))
		ask("c")
		d.resolver.SetFollower(nil)
		require.Empty(t, f.now())
		require.Zero(t, d.resolver.followed.all)
	})
}

// So many keys are followed of a source and in all; others are looked up as without. What
// is forgotten makes room.
func TestFollowedLimits(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.SetOther(has(value("a", 3600)))
		limits := DefaultLimits()
		limits.Followed, limits.FollowedPerGroup, limits.FollowedPerSource = 5, 4, 3
		d := newDoor(t, s.Server, s, WithLimits(limits))
		defer d.close()
		var f followers
		d.resolver.SetFollower(&f)
		ask := func(source, group string, n int) {
			t.Helper()
			answered := make(chan []records.Record, 1)
			key := []byte(fmt.Sprint(source, n))
			asker := records.Asker{Source: records.Source{Name: source, Group: group}, Client: true}
			require.True(t, d.resolver.Resolve(key, asker, func(found []records.Record) { answered <- found }))
			require.Len(t, <-answered, 1)
		}
		for n := range 10 {
			ask("192.0.2.1", "192.0.2.0/24", n)
		}
		require.Len(t, f.now(), 3)
		for n := range 10 {
			ask("192.0.2.2", "192.0.2.0/24", n)
		}
		require.Len(t, f.now(), 4)
		time.Sleep(limits.KeepFresh + 2*limits.HitLife)
		require.Empty(t, f.now())
		ask("192.0.2.3", "192.0.2.0/24", 0)
		require.Len(t, f.now(), 1)
	})
}
