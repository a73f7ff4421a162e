package upkeep

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// lookedUp returns how many different targets contacts were asked for, by the
// bucket that they are in; IDBits stands for our own id.
func lookedUp(s *script) map[int]int {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	targets, buckets := map[routing.ID]bool{}, map[int]int{}
	for _, m := range s.Messages {
		if find, ok := m.(*wire.FindNode); ok && !targets[routing.ID(find.Target)] {
			targets[routing.ID(find.Target)] = true
			buckets[s.Server.Self().CommonPrefixLen(routing.ID(find.Target))]++
		}
	}
	return buckets
}

func TestJoin(t *testing.T) {
	ours := map[int]int{routing.IDBits: 1}
	tests := map[string]struct {
		libp2p, erlang []int // buckets of the contacts
		want           map[int]int
	}{
		"nobody":                   {nil, nil, map[int]int{}},
		"the farthest":             {[]int{0}, nil, ours},
		"each farther bucket":      {[]int{0, 3}, nil, map[int]int{routing.IDBits: 1, 0: 1, 1: 1, 2: 1}},
		"an Erlang one next to us": {[]int{2}, []int{200, 250}, map[int]int{routing.IDBits: 1, 0: 1, 1: 1}},
		"an Erlang one alone":      {nil, []int{250}, map[int]int{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				for i, bucket := range tt.libp2p {
					s.Know(s.In(bucket, i))
				}
				for i, bucket := range tt.erlang {
					s.Know(s.ErlangIn(bucket, i))
				}
				u := startUpkeep(s)
				defer u.Close()
				require.NoError(t, u.Join(t.Context()))
				require.Equal(t, tt.want, lookedUp(s))
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
				s.Know(s.Peers...)
				s.Other = never
				u := startUpkeep(s)
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
			s.Know(s.In(bucket, bucket))
		}
		s.Know(s.ErlangIn(99, 1))
		u := startUpkeep(s)
		defer u.Close()
		require.NoError(t, u.Join(t.Context()))
		require.Equal(t, map[int]int{routing.IDBits: 1, 0: 1, 1: 1, 2: 1, 3: 1}, lookedUp(s))
		const busy, rounds = 2, 6
		end := time.Now().Add(rounds*DefaultIdle + 2*DefaultCheckInterval)
		lookups := 1 // that of Join
		for ; time.Now().Before(end); time.Sleep(DefaultIdle / 2) {
			target := s.Server.Table().RandomID(busy)
			_, err := u.lookups.Nodes(t.Context(), target[:])
			require.NoError(t, err)
			lookups++
		}
		got := lookedUp(s)
		require.Equal(t, lookups, got[busy], "none but ours")
		require.Equal(t, 1, got[routing.IDBits], "always the same id")
		for _, bucket := range []int{0, 1, 3} {
			require.InDelta(t, rounds, got[bucket]-1, 1, "bucket %d", bucket)
		}
		require.Len(t, got, 5, "nothing nearer than our contacts")
	})
}

// Our own neighbourhood is looked up again as well.
func TestOwnIDIsRefreshed(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		c := s.In(0, 1)
		s.Know(c)
		defer startUpkeep(s).Close()
		time.Sleep(time.Hour)
		require.InDelta(t, 6, len(s.Questions(c, wire.TypeFindNode)), 1)
	})
}

func TestEmptyTableIsLeftAlone(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		u := startUpkeep(s)
		defer u.Close()
		time.Sleep(time.Hour)
		for bucket := range routing.IDBits + 1 {
			require.Zero(t, u.lookups.LastLookup(bucket), "no lookup that could ask nobody")
		}
		c := s.In(0, 1)
		s.Know(c)
		time.Sleep(2 * time.Minute)
		require.NotEmpty(t, s.Questions(c, wire.TypeFindNode), "at once when there is somebody")
	})
}
