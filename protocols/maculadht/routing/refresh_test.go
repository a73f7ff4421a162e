package routing

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// lookedUp returns how many different targets contacts were asked for, by the
// bucket that they are in; IDBits stands for our own id.
func (s *script) lookedUp() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	targets, buckets := map[ID]bool{}, map[int]int{}
	for _, m := range s.messages {
		if find, ok := m.(*wire.FindNode); ok && !targets[ID(find.Target)] {
			targets[ID(find.Target)] = true
			buckets[s.server.Self().CommonPrefixLen(ID(find.Target))]++
		}
	}
	return buckets
}

func TestRandomInBucket(t *testing.T) {
	rng := newRand(12)
	for bucket := range IDBits {
		self := randomID(rng)
		require.Equal(t, bucket, self.CommonPrefixLen(randomIn(self, bucket)))
	}
	require.NotEqual(t, randomIn(ID{}, 3), randomIn(ID{}, 3))
}

func TestJoin(t *testing.T) {
	ours := map[int]int{IDBits: 1}
	tests := map[string]struct {
		libp2p, erlang []int // buckets of the contacts
		want           map[int]int
	}{
		"nobody":                   {nil, nil, map[int]int{}},
		"the farthest":             {[]int{0}, nil, ours},
		"each farther bucket":      {[]int{0, 3}, nil, map[int]int{IDBits: 1, 0: 1, 1: 1, 2: 1}},
		"an Erlang one next to us": {[]int{2}, []int{200, 250}, map[int]int{IDBits: 1, 0: 1, 1: 1}},
		"an Erlang one alone":      {nil, []int{250}, map[int]int{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				for i, bucket := range tt.libp2p {
					s.know(s.in(bucket, i))
				}
				for i, bucket := range tt.erlang {
					s.know(s.erlangIn(bucket, i))
				}
				u := s.upkeep()
				defer u.Close()
				require.NoError(t, u.Join(t.Context()))
				require.Equal(t, tt.want, s.lookedUp())
			})
		})
	}
}

func TestJoinEndsWith(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(cancel func(), u *Upkeep)
		want error
	}{
		"its context": {func(cancel func(), _ *Upkeep) { cancel() }, context.Canceled},
		"the upkeep":  {func(_ func(), u *Upkeep) { u.Close() }, context.Canceled},
		"a lookup of our own id that takes too long": {func(func(), *Upkeep) {}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 100, func(t *testing.T, s *script) {
				s.know(s.peers...)
				s.other = never
				u := s.upkeep()
				defer u.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(3*time.Second, func() { tt.end(cancel, u) })
				require.ErrorIs(t, u.Join(ctx), tt.want)
			})
		})
	}
}

func TestIdleBucketsAreRefreshed(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		for bucket := range 5 { // so there are four farther than the nearest
			s.know(s.in(bucket, bucket))
		}
		s.know(s.erlangIn(99, 1))
		u := s.upkeep()
		defer u.Close()
		require.NoError(t, u.Join(t.Context()))
		require.Equal(t, map[int]int{IDBits: 1, 0: 1, 1: 1, 2: 1, 3: 1}, s.lookedUp())
		const busy, rounds = 2, 6
		end := time.Now().Add(rounds*DefaultIdle + 2*DefaultCheckInterval)
		lookups := 1 // that of Join
		for ; time.Now().Before(end); time.Sleep(DefaultIdle / 2) {
			target := randomIn(s.server.Self(), busy)
			_, err := u.lookups.Nodes(t.Context(), target[:])
			require.NoError(t, err)
			lookups++
		}
		got := s.lookedUp()
		require.Equal(t, lookups, got[busy], "none but ours")
		require.Equal(t, 1, got[IDBits], "always the same id")
		for _, bucket := range []int{0, 1, 3} {
			require.InDelta(t, rounds, got[bucket]-1, 1, "bucket %d", bucket)
		}
		require.Len(t, got, 5, "nothing nearer than our contacts")
	})
}

// Our own neighbourhood is looked up again as well.
func TestOwnIDIsRefreshed(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		c := s.in(0, 1)
		s.know(c)
		defer s.upkeep().Close()
		time.Sleep(time.Hour)
		require.InDelta(t, 6, len(s.questions(c, wire.TypeFindNode)), 1)
	})
}

func TestEmptyTableIsLeftAlone(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		u := s.upkeep()
		defer u.Close()
		time.Sleep(time.Hour)
		require.Zero(t, u.lookups.visited.last, "no lookup that could ask nobody")
		c := s.in(0, 1)
		s.know(c)
		time.Sleep(2 * time.Minute)
		require.NotEmpty(t, s.questions(c, wire.TypeFindNode), "at once when there is somebody")
	})
}
