package records

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// proved has a put sealed so long from now, for an hour.
func (p Put) proved(after time.Duration) Put {
	at := time.Now().Add(after).UnixMilli()
	p.Proof = &Proof{Envelope: []byte("proof of " + string(p.Value)), Sequence: at, Expires: at + time.Hour.Milliseconds()}
	return p
}

// tombstone is a withdrawal, so long from now.
func tombstone(nodeID string, after time.Duration) Put {
	return Put{NodeID: []byte(nodeID)}.proved(after)
}

func TestProofRules(t *testing.T) {
	type step struct {
		after     time.Duration
		put       func() Put // when it is its turn
		want      error
		holds     []string
		withdrawn int
	}
	owner := func(p Put) Put { return p.from(p.NodeID) }
	const s = time.Second
	for name, steps := range map[string][]step{
		"a newer one replaces, an older or equal one never": {
			{put: func() Put { return by("a", "1").proved(0) }, holds: []string{"1"}},
			{put: func() Put { return by("b", "other").proved(0) }, holds: []string{"other", "1"}},
			{put: func() Put { return by("a", "2").proved(1 * s) }, holds: []string{"other", "2"}},
			{put: func() Put { return by("a", "1").proved(0) }, want: ErrSuperseded, holds: []string{"other", "2"}},
			{put: func() Put { return by("a", "1").proved(0).ttl(10 * time.Hour) }, want: ErrSuperseded, holds: []string{"other", "2"}},
			{put: func() Put { return by("a", "3").proved(1 * s) }, want: ErrSuperseded, holds: []string{"other", "2"}},
			{put: func() Put { return by("a", "2").proved(1 * s) }, holds: []string{"other", "2"}},
		},
		"the order in which they come does not matter": {
			{put: func() Put { return by("a", "2").proved(1 * s) }, holds: []string{"2"}},
			{put: func() Put { return by("a", "1").proved(0).copyWith(time.Hour) }, want: ErrSuperseded, holds: []string{"2"}},
		},
		"a newer one replaces though it has less life left": {
			{put: func() Put { return by("a", "1").proved(0).ttl(time.Hour) }, holds: []string{"1"}},
			{put: func() Put { return by("a", "2").proved(1 * s).copyWith(time.Minute) }, holds: []string{"2"}},
		},
		"what is not proved never replaces": {
			{put: func() Put { return by("a", "1").proved(0) }, holds: []string{"1"}},
			{put: func() Put { return by("a", "forged") }, want: ErrNotOwner, holds: []string{"1"}},
			{put: func() Put { return by("a", "forged").from([]byte("b")) }, want: ErrNotOwner, holds: []string{"1"}},
			{put: func() Put { return by("a", "forged").copyWith(10 * time.Hour) }, want: ErrNotOwner, holds: []string{"1"}},
			{put: func() Put { return by("a", "forged").direct() }, want: ErrNotOwner, holds: []string{"1"}},
			{put: func() Put { return owner(by("a", "its own")) }, want: ErrNotOwner, holds: []string{"1"}},
			{put: func() Put { return by("a", "1").ttl(10 * time.Hour) }, holds: []string{"1"}},
		},
		"what is proved replaces all else": {
			{put: func() Put { return owner(by("a", "1")) }, holds: []string{"1"}},
			{put: func() Put { return by("b", "2").direct() }, holds: []string{"2", "1"}},
			{put: func() Put { return by("a", "3").proved(-30 * time.Minute).copyWith(time.Second) }, holds: []string{"2", "3"}},
			{put: func() Put { return by("b", "4").proved(0).copyWith(time.Second) }, holds: []string{"4", "3"}},
		},
		"withdrawn is gone at once": {
			{put: func() Put { return by("a", "1").proved(0) }, holds: []string{"1"}},
			{put: func() Put { return by("b", "2").proved(0) }, holds: []string{"2", "1"}},
			{put: func() Put { return tombstone("a", 1*s) }, holds: []string{"2"}, withdrawn: 1},
			{put: func() Put { return tombstone("b", 1*s) }, withdrawn: 2},
		},
		"and does not come back, until it is stored anew": {
			{put: func() Put { return by("a", "1").proved(0) }, holds: []string{"1"}},
			{put: func() Put { return tombstone("a", 1*s) }, withdrawn: 1},
			{put: func() Put { return by("a", "1").proved(0).copyWith(time.Hour) }, want: ErrSuperseded, withdrawn: 1},
			{put: func() Put { return by("a", "1").copyWith(time.Hour) }, want: ErrNotOwner, withdrawn: 1},
			{put: func() Put { return owner(by("a", "1")) }, want: ErrNotOwner, withdrawn: 1},
			{put: func() Put { return by("b", "2") }, holds: []string{"2"}, withdrawn: 1},
			{after: time.Minute, put: func() Put { return by("a", "3").proved(0) }, holds: []string{"3", "2"}},
			{put: func() Put { return tombstone("a", -1*s) }, want: ErrSuperseded, holds: []string{"3", "2"}},
		},
		"a tombstone that comes before its record": {
			{put: func() Put { return tombstone("a", 1*s) }, withdrawn: 1},
			{put: func() Put { return by("a", "1").proved(0) }, want: ErrSuperseded, withdrawn: 1},
		},
		"a tombstone lasts until no copy could be let in any more, whatever its sender says": {
			{put: func() Put { return tombstone("a", 0).copyWith(time.Second).ttl(time.Second) }, withdrawn: 1},
			{after: time.Hour + Skew - time.Second, put: func() Put { return by("a", "1").proved(-time.Hour - Skew + s) }, want: ErrSuperseded, withdrawn: 1},
			{after: 2 * time.Second, put: func() Put { return by("a", "1").proved(-time.Hour - Skew - s) }, want: ErrExpired},
			{put: func() Put { return by("a", "2").proved(0) }, holds: []string{"2"}},
		},
		"the very same record lives as long as the longer": {
			{put: func() Put { return by("a", "1").proved(0).copyWith(time.Second) }, holds: []string{"1"}},
			{put: func() Put { return by("a", "1").proved(0).ttl(time.Minute) }, holds: []string{"1"}},
			{put: func() Put { return by("a", "1").proved(0).copyWith(time.Second) }, holds: []string{"1"}},
			{after: 59 * time.Second, put: func() Put { return by("b", "2").proved(0) }, holds: []string{"2", "1"}},
		},
		"no copy lives longer than its proof and the skew": {
			{put: func() Put { return by("a", "1").proved(-time.Hour).ttl(24 * time.Hour) }, holds: []string{"1"}},
			{after: Skew - time.Second, put: func() Put { return by("b", "2").proved(0) }, holds: []string{"2", "1"}},
			{after: time.Second, put: func() Put { return by("c", "3").proved(0) }, holds: []string{"3", "2"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := New()
				require.NoError(t, err)
				defer m.Close()
				for i, step := range steps {
					time.Sleep(step.after)
					p := step.put()
					p.Key = key
					require.ErrorIs(t, m.Store(t.Context(), p), step.want, "step %d", i)
					found, withdrawn, err := m.Records(t.Context(), key, time.Now())
					require.NoError(t, err)
					require.ElementsMatch(t, step.holds, values(found), "step %d", i)
					if len(step.holds) > 0 {
						require.Equal(t, step.holds, values(found), "step %d, in order", i)
					}
					require.Len(t, withdrawn, step.withdrawn, "step %d", i)
					for _, r := range withdrawn {
						require.True(t, r.IsTombstone())
					}
					told, err := m.Values(t.Context(), key)
					require.Equal(t, len(step.holds) == 0, err != nil, "step %d", i)
					require.Len(t, told, len(step.holds), "step %d", i)
					requireLedgerExact(t, m)
				}
			})
		})
	}
}

// What a clock that was ahead has let in holds nobody up once that is set right.
func TestProofFromTheFuture(t *testing.T) {
	m := newManager(t)
	ahead := by("a", "1").proved(Skew + time.Minute)
	ahead.Key = key
	require.NoError(t, m.Store(t.Context(), ahead))
	for _, p := range []Put{by("a", "2").proved(0), tombstone("a", time.Second)} {
		p.Key = key
		require.NoError(t, m.Store(t.Context(), p))
	}
	_, err := m.Values(t.Context(), key)
	require.ErrorIs(t, err, ErrNotFound)
}

// Tombstones are records to the limits: they give way, and take nobody's place for free.
func TestTombstonesOfAFullKey(t *testing.T) {
	m := newManager(t)
	fill(t, m, func(int) time.Duration { return 2 * time.Hour }, MaxProviders)
	p := tombstone("new", 0)
	p.Key = key
	require.ErrorIs(t, m.Store(t.Context(), p), ErrKeyFull, "it is the first to end")
	p = tombstone("999", 0)
	p.Key = key
	require.NoError(t, m.Store(t.Context(), p))
	values, withdrawn, err := m.Records(t.Context(), key, time.Now())
	require.NoError(t, err)
	require.Len(t, values, MaxProviders-1)
	require.Len(t, withdrawn, 1)
	p = by("another", "v").ttl(3 * time.Hour).from([]byte("another"))
	p.Key = key
	require.NoError(t, m.Store(t.Context(), p))
	values, withdrawn, err = m.Records(t.Context(), key, time.Now())
	require.NoError(t, err)
	require.Len(t, values, MaxProviders)
	require.Empty(t, withdrawn, "the first to end")
	requireLedgerExact(t, m)
}

func TestWhichIsFresher(t *testing.T) {
	now := time.Now()
	proved := func(sequence int64, left time.Duration) Record {
		return Record{Proof: &Proof{Sequence: sequence}, Expires: now.Add(left)}
	}
	plain := func(left time.Duration) Record { return Record{Expires: now.Add(left)} }
	direct := plain(time.Second)
	direct.Direct = true
	for name, test := range map[string]struct{ fresher, other Record }{
		"more life left":            {plain(2), plain(1)},
		"proved":                    {proved(1, 1), plain(2)},
		"proved, before first-hand": {proved(1, 1), direct},
		"newer":                     {proved(2, 1), proved(1, 2)},
		"the same with more left":   {proved(1, 2), proved(1, 1)},
	} {
		require.True(t, test.fresher.IsFresher(&test.other), name)
		require.False(t, test.other.IsFresher(&test.fresher), name)
	}
	later := plain(time.Hour)
	require.False(t, later.IsFresher(&direct), "it is its provider's last word")
}
