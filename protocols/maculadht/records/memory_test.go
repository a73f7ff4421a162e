package records_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) records.Store { return records.NewMemoryStore() })
}

func TestMemoryStoreRefusesForeignCursors(t *testing.T) {
	s := records.NewMemoryStore()
	for name, cursor := range map[string]records.Cursor{
		"too short":  "x",
		"too long":   records.Cursor(make([]byte, 27)),
		"no part":    "\xff" + records.Cursor(make([]byte, 25)),
		"beyond all": "\x00\xff" + records.Cursor(make([]byte, 24)),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.Keys(t.Context(), nil, cursor, 1)
			require.ErrorIs(t, err, records.ErrCursor)
		})
	}
}

// However many keys come while it lasts, a walk ends.
func TestMemoryStoreWalkEnds(t *testing.T) {
	s := records.NewMemoryStore()
	put := func(i int) {
		s.Update(t.Context(), fmt.Append(nil, i), records.Soon, func([]records.Record) []records.Record {
			return []records.Record{{Value: []byte("v"), Expires: time.Now()}}
		}, func(err error) { require.NoError(t, err) })
	}
	const there = 500
	n := 0
	for ; n < there; n++ {
		put(n)
	}
	seen := 0
	for cursor, begun := records.Cursor(""), false; !begun || cursor != ""; begun = true {
		keys, next, err := s.Keys(t.Context(), nil, cursor, 10)
		require.NoError(t, err)
		seen += len(keys)
		cursor = next
		for range 30 {
			put(n)
			n++
		}
	}
	require.Equal(t, there, seen)
}

// Keys that are gone leave nothing behind, so that a store that is written to for
// long takes no longer, and no more room.
func TestMemoryStoreForgetsWhatIsGone(t *testing.T) {
	s := records.NewMemoryStore()
	set := func(i int, recs ...records.Record) {
		s.Update(t.Context(), fmt.Append(nil, i), records.Soon, func([]records.Record) []records.Record { return recs }, func(error) {})
	}
	for i := range 200_000 {
		set(i, records.Record{Value: []byte("v"), Expires: time.Now()})
		set(i - 100)
	}
	pages := 0
	for cursor := records.Cursor(""); pages == 0 || cursor != ""; pages++ {
		_, next, err := s.Keys(t.Context(), nil, cursor, 1000)
		require.NoError(t, err)
		cursor = next
	}
	require.Equal(t, 1, pages, "fewer than are looked at for a page")
}
