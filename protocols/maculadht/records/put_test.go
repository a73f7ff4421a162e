package records

import (
	"encoding/hex"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	alice, bob = nodeID("alice"), nodeID("bob")
	key        = []byte("a key")
)

// step stores a put after a pause and says what must then be there.
type step struct {
	after time.Duration
	put   Put
	want  error
	holds []string // values in order; nil: ErrNotFound
}

// by returns a put of value under node id, with the rest zero.
func by(nodeID, value string) Put {
	return Put{NodeID: []byte(nodeID), Value: []byte(value)}
}

func (p Put) from(id []byte) Put              { p.From = id; return p }
func (p Put) ttl(d time.Duration) Put         { p.TTL = d; return p }
func (p Put) copyWith(left time.Duration) Put { p.ExpiresIn = left; return p }
func (p Put) direct() Put                     { p.Direct = true; return p }
func (p Put) anonymous() Put                  { p.NodeID = nil; return p }

func TestStoreRules(t *testing.T) {
	aliceID := string(alice)
	tests := []struct {
		name  string
		steps []step
	}{
		{"new node ids go in front", []step{
			{put: by("a", "1"), holds: []string{"1"}},
			{put: by("b", "2"), holds: []string{"2", "1"}},
			{put: by("c", "3"), holds: []string{"3", "2", "1"}},
		}},
		{"same node id replaces in place", []step{
			{put: by("a", "1"), holds: []string{"1"}},
			{put: by("b", "2"), holds: []string{"2", "1"}},
			{put: by("c", "3"), holds: []string{"3", "2", "1"}},
			{put: by("b", "4"), holds: []string{"3", "4", "1"}},
		}},
		{"the empty node id is one, too", []step{
			{put: by("", "1"), holds: []string{"1"}},
			{put: by("", "2"), holds: []string{"2"}},
			{put: by("", "2").anonymous(), holds: []string{"2", "2"}},
		}},
		{"without node id in front", []step{
			{put: by("", "1").anonymous(), holds: []string{"1"}},
			{put: by("", "2").anonymous(), holds: []string{"2", "1"}},
		}},
		{"without node id, same value refreshes in place", []step{
			{put: by("", "1").anonymous().ttl(10 * time.Second), holds: []string{"1"}},
			{put: by("", "2").anonymous(), holds: []string{"2", "1"}},
			{after: 9 * time.Second, put: by("", "1").anonymous().ttl(10 * time.Second), holds: []string{"2", "1"}},
			{after: 9 * time.Second, put: by("a", "3"), holds: []string{"3", "2", "1"}},
			{after: time.Second, put: by("a", "3"), holds: []string{"3", "2"}},
		}},
		{"no copy replaces what came first-hand", []step{
			{put: by("a", "1").direct().ttl(300 * time.Second), holds: []string{"1"}},
			{put: by("a", "2").copyWith(time.Hour), holds: []string{"1"}},
			{put: by("a", "3").direct().copyWith(time.Hour), holds: []string{"1"}},
			{put: by("a", "4").direct().ttl(200 * time.Second), holds: []string{"4"}},
			{after: 200 * time.Second, put: by("a", "2").copyWith(time.Hour), holds: []string{"2"}},
			{put: by("a", "5").copyWith(2 * time.Hour), holds: []string{"5"}},
		}},
		{"the same value from elsewhere does not make a first-hand record another's", []step{
			{put: by("a", "1").direct().ttl(300 * time.Second), holds: []string{"1"}},
			{after: time.Second, put: by("a", "1").from(bob).ttl(400 * time.Second), holds: []string{"1"}},
			{put: by("a", "2").copyWith(time.Hour), holds: []string{"1"}}, // it is first-hand still
			{put: by("a", "1").direct().ttl(200 * time.Second), holds: []string{"1"}},
			{after: 200 * time.Second, put: by("a", "1").from(bob).ttl(10 * time.Second), holds: []string{"1"}},
			{put: by("a", "2").copyWith(48 * time.Hour), holds: []string{"2"}},
			{put: by("a", "3").direct(), holds: []string{"3"}},
			{put: by("a", "4").from(bob), holds: []string{"4"}}, // it is newer
		}},
		{"an unowned record is its last writer's", []step{
			{put: by("a", "1").from(alice), holds: []string{"1"}},
			{put: by("a", "2").from(bob), holds: []string{"2"}},
			{put: by("a", "3"), holds: []string{"3"}},
		}},
		{"an owned record is its owner's", []step{
			{put: by(aliceID, "1").from(alice), holds: []string{"1"}},
			{put: by(aliceID, "2").from(bob), want: ErrNotOwner, holds: []string{"1"}},
			{put: by(aliceID, "2"), want: ErrNotOwner, holds: []string{"1"}},
			{put: by(aliceID, "2").from(bob).copyWith(24 * time.Hour), want: ErrNotOwner, holds: []string{"1"}},
			{put: by(aliceID, "3").from(alice), holds: []string{"3"}},
		}},
		{"the owner takes its id back", []step{
			{put: by(aliceID, "1").from(bob), holds: []string{"1"}},
			{put: by("b", "2"), holds: []string{"2", "1"}},
			{put: by(aliceID, "3").from(alice), holds: []string{"2", "3"}},
			{put: by(aliceID, "4").from(bob), want: ErrNotOwner, holds: []string{"2", "3"}},
		}},
		{"the same value of another is fine and changes nothing", []step{
			{put: by(aliceID, "1").from(alice).ttl(10 * time.Second), holds: []string{"1"}},
			{after: 5 * time.Second, put: by(aliceID, "1").from(bob), holds: []string{"1"}},
			{after: 5 * time.Second, put: by("b", "2"), holds: []string{"2"}},
		}},
		{"ownership ends with the record", []step{
			{put: by(aliceID, "1").from(alice).ttl(10 * time.Second), holds: []string{"1"}},
			{after: 10 * time.Second, put: by(aliceID, "2").from(bob), holds: []string{"2"}},
		}},
		{"the sender's id in hexadecimal proves nothing", []step{
			{put: by(hex.EncodeToString(alice), "1").from(alice), holds: []string{"1"}},
			{put: by(hex.EncodeToString(alice), "2").from(bob), holds: []string{"2"}},
		}},
		{"no id is no sender", []step{
			{put: by("", "1").from(nil), holds: []string{"1"}},
			{put: by("", "2").from([]byte{}), holds: []string{"2"}},
			{put: by("", "3").from(bob), holds: []string{"3"}},
		}},
		{"a copy is not owned", []step{
			{put: by(aliceID, "1").from(bob).copyWith(time.Hour), holds: []string{"1"}},
			{put: by(aliceID, "2").from(bob), holds: []string{"2"}},
		}},
		{"the owner's own copy is owned", []step{
			{put: by(aliceID, "1").from(alice).copyWith(time.Hour), holds: []string{"1"}},
			{put: by(aliceID, "2").from(bob), want: ErrNotOwner, holds: []string{"1"}},
		}},
		{"a copy lives as long as is left to it", []step{
			{put: by("a", "1").copyWith(10 * time.Second), holds: []string{"1"}},
			{after: 9 * time.Second, put: by("b", "2"), holds: []string{"2", "1"}},
			{after: time.Second, put: by("b", "2"), holds: []string{"2"}},
		}},
		{"nor longer than its ttl", []step{
			{put: by("a", "1").ttl(10 * time.Second).copyWith(time.Hour), holds: []string{"1"}},
			{after: 10 * time.Second, put: by("b", "2"), holds: []string{"2"}},
		}},
		{"the copy with more left is the fresher", []step{
			{put: by("a", "1").copyWith(20 * time.Second), holds: []string{"1"}},
			{put: by("a", "2").copyWith(20 * time.Second), holds: []string{"1"}},
			{put: by("a", "3").copyWith(19 * time.Second), holds: []string{"1"}},
			{put: by("a", "4").copyWith(21 * time.Second), holds: []string{"4"}},
			{after: 2 * time.Second, put: by("a", "5").copyWith(20 * time.Second), holds: []string{"5"}},
		}},
		{"an original replaces a copy with more left", []step{
			{put: by("a", "1").copyWith(time.Hour), holds: []string{"1"}},
			{put: by("a", "2").ttl(time.Second), holds: []string{"2"}},
		}},
		{"a copy without node id does not shorten", []step{
			{put: by("", "1").anonymous().ttl(20 * time.Second), holds: []string{"1"}},
			{put: by("", "1").anonymous().copyWith(time.Second), holds: []string{"1"}},
			{after: 19 * time.Second, put: by("b", "2"), holds: []string{"2", "1"}},
		}},
		{"without ttl a day", []step{
			{put: by("a", "1"), holds: []string{"1"}},
			{after: 24*time.Hour - 1, put: by("b", "2").ttl(time.Second), holds: []string{"2", "1"}},
			{after: 1, put: by("b", "2"), holds: []string{"2"}},
		}},
		{"no life", []step{
			{put: by("a", "1").ttl(-1), want: ErrExpired},
			{put: by("a", "1").copyWith(-1), want: ErrExpired},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := New()
				require.NoError(t, err)
				defer s.Close()
				for i, step := range tt.steps {
					time.Sleep(step.after)
					step.put.Key = key
					require.ErrorIs(t, s.Store(t.Context(), step.put), step.want, "step %d", i)
					got, err := s.Values(t.Context(), key)
					if step.holds == nil {
						require.ErrorIs(t, err, ErrNotFound, "step %d", i)
						continue
					}
					require.NoError(t, err)
					require.Equal(t, step.holds, values(got), "step %d", i)
				}
			})
		})
	}
}

// fill stores MaxProviders records under key, the first ones by their providers.
func fill(t *testing.T, s *Manager, ttl func(i int) time.Duration, owned int) {
	for i := range MaxProviders {
		p := Put{Key: key, NodeID: fmt.Append(nil, i), Value: fmt.Append(nil, i), TTL: ttl(i)}
		if i < owned {
			p.From = p.NodeID
		}
		require.NoError(t, s.Store(t.Context(), p))
	}
}

func TestMaxProviders(t *testing.T) {
	hour := func(int) time.Duration { return time.Hour }
	tests := []struct {
		name    string
		ttl     func(i int) time.Duration
		owned   int // how many of the first ones their providers have stored
		put     Put
		err     error
		gone    string // the value that is no longer there
		front   string
		evicted uint64
	}{
		{"soonest to expire goes", func(i int) time.Duration { return time.Hour - time.Duration(i%700)*time.Second },
			0, by("new", "new").ttl(time.Hour), nil, "699", "new", 1},
		{"oldest of equals goes", func(i int) time.Duration { return time.Hour - time.Duration(i%500/499)*time.Minute },
			0, by("new", "new").ttl(time.Hour), nil, "499", "new", 1},
		{"when all are equals", hour, 0, by("new", "new").ttl(time.Hour), nil, "0", "new", 1},
		{"be it the new one", hour, 0, by("new", "new").ttl(time.Hour - 1), ErrKeyFull, "new", "999", 0},
		{"replacing evicts nobody", hour, 0, by("500", "again").ttl(time.Second), nil, "500", "999", 0},
		{"who owns his stays", func(i int) time.Duration { return time.Duration(i+1) * time.Minute },
			700, by("new", "new").ttl(24 * time.Hour), nil, "700", "new", 1},
		{"none that is owned gives way to one that is not", hour,
			MaxProviders, by("new", "new").ttl(24 * time.Hour), ErrKeyFull, "new", "999", 0},
		{"one that is owned takes the place of one that is not", hour,
			MaxProviders - 1, by("new", "new").ttl(time.Second).from([]byte("new")), nil, "999", "new", 1},
		{"among those that are owned the soonest goes", func(i int) time.Duration { return time.Duration(i+1) * time.Minute },
			MaxProviders, by("new", "new").ttl(time.Hour).from([]byte("new")), nil, "0", "new", 1},
		{"be it the new one that is owned", hour,
			MaxProviders, by("new", "new").ttl(time.Minute).from([]byte("new")), ErrKeyFull, "new", "999", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := New()
				require.NoError(t, err)
				defer s.Close()
				fill(t, s, tt.ttl, tt.owned)
				tt.put.Key = key
				require.ErrorIs(t, s.Store(t.Context(), tt.put), tt.err)
				recs, err := s.Values(t.Context(), key)
				require.NoError(t, err)
				require.Len(t, recs, MaxProviders)
				require.NotContains(t, values(recs), tt.gone)
				require.Equal(t, tt.front, string(recs[0].Value))
				require.Equal(t, tt.evicted, s.Stats().Evicted)
				requireLedgerExact(t, s)
			})
		})
	}
}

func TestSnapshotsDoNotChange(t *testing.T) {
	s := newManager(t)
	put := func(nodeID, value string) {
		p := by(nodeID, value)
		p.Key = key
		require.NoError(t, s.Store(t.Context(), p))
	}
	put("a", "1")
	put("b", "2")
	before, err := s.Values(t.Context(), key)
	require.NoError(t, err)
	put("a", "3")
	put("c", "4")
	require.Equal(t, []string{"2", "1"}, values(before))
}
