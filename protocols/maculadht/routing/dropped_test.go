package routing

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Who comes back is told from who is new, and from who was always there.
func TestReturned(t *testing.T) {
	with := func(storeID string) Contact {
		c := libp2pContact(ID{1}, "p")
		c.StoreID = []byte(storeID)
		return c
	}
	fail := func(table *Table) {
		for range MaxFailures {
			table.Failed(ID{1}, time.Now())
		}
	}
	remove := func(table *Table) { table.Remove(ID{1}) }
	tests := map[string]struct {
		leaves           func(table *Table)
		back             Contact
		returned, joined bool
	}{
		"the same":                         {func(*Table) {}, with("a"), false, false},
		"with another store":               {func(*Table) {}, with("b"), true, false},
		"of an older version":              {func(*Table) {}, libp2pContact(ID{1}, "p"), false, false},
		"after it was dropped":             {fail, with("a"), true, false},
		"after it was removed":             {remove, with("a"), false, true},
		"so, with another store":           {remove, with("b"), true, false},
		"dropped, then taken out for good": {func(table *Table) { fail(table); remove(table) }, with("a"), false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := NewTable(ID{}, 2)
			require.NoError(t, table.Add(with("a")))
			table.TakeChanges()
			tt.leaves(table)
			require.NoError(t, table.Add(tt.back))
			taken := table.TakeChanges()
			require.Equal(t, tt.returned, len(taken.Returned) == 1)
			require.Equal(t, tt.joined, len(taken.Joined) == 1)
			known, _ := table.Get(ID{1})
			if tt.back.StoreID == nil {
				require.Equal(t, "a", string(known.StoreID), "what it told once is not forgotten")
			}
			_, dropped := table.Dropped(ID{1})
			require.False(t, dropped)
		})
	}
}

func TestDroppedIsBounded(t *testing.T) {
	table, rng := NewTable(ID{}, 1), newRand(5)
	for range 5 * MaxDropped {
		c := libp2pContact(randomID(rng), "p")
		if table.Add(c) != nil {
			continue
		}
		for range MaxFailures {
			table.Failed(c.ID, time.Now())
		}
		_, there := table.Dropped(c.ID)
		require.True(t, there)
	}
	require.LessOrEqual(t, len(table.AllDropped()), MaxDropped)
	require.Len(t, table.dropped.order, len(table.dropped.contacts))
}

func TestStoreIDIsBounded(t *testing.T) {
	c := libp2pContact(ID{1}, "p")
	c.StoreID = make([]byte, MaxStoreID+1)
	table := NewTable(ID{}, 1)
	require.NoError(t, table.Add(c))
	known, _ := table.Get(ID{1})
	require.Nil(t, known.StoreID)
}

// One that comes and goes takes nobody else's place, nor loses its own.
func TestWhoComesAndGoesFlushesNobody(t *testing.T) {
	table := NewTable(ID{}, 0)
	drop := func(id ID) {
		require.NoError(t, table.Add(libp2pContact(id, "p")))
		for range MaxFailures {
			table.Failed(id, time.Now())
		}
	}
	quiet, restless := ID{1}, ID{2}
	drop(restless)
	drop(quiet)
	for range 2*MaxDropped + 1 {
		drop(restless)
	}
	_, there := table.Dropped(quiet)
	require.True(t, there)
	rng := newRand(6)
	for range MaxDropped - 2 {
		drop(randomID(rng))
	}
	for _, id := range []ID{quiet, restless} {
		_, there = table.Dropped(id)
		require.True(t, there)
	}
	drop(randomID(rng))
	_, there = table.Dropped(quiet)
	require.False(t, there, "the first to go is the first to be forgotten")
	_, there = table.Dropped(restless)
	require.True(t, there)
}
