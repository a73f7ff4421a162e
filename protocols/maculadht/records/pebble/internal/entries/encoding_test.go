package entries

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// However a list changes, writing what has changed makes the entries those of the new
// list, in its order, and what stays is not written.
func TestPlaced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []records.Record
		disk := map[uint32]string{}
		value := func(r records.Record) string { return string(r.Value) }
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			old := slices.Clone(list)
			next := slices.Clone(list)
			stays := 0
			switch n := len(next); rapid.IntRange(0, 6).Draw(t, "kind") {
			case 0, 1:
				next = append([]records.Record{{Value: []byte(rapid.String().Draw(t, "front"))}}, next...)
				stays = n
			case 2:
				next = append(next, records.Record{Value: []byte(rapid.String().Draw(t, "end"))})
				stays = n
			case 3:
				at := rapid.IntRange(0, n).Draw(t, "at")
				next = slices.Insert(next, at, records.Record{Value: []byte(rapid.String().Draw(t, "between"))})
			case 4:
				slices.Reverse(next)
			case 5:
				if n > 0 {
					at := rapid.IntRange(0, n-1).Draw(t, "at")
					next[at] = records.Record{Value: []byte(rapid.String().Draw(t, "renewed"))}
					stays = n - 1
				}
			case 6:
				if n > 0 {
					at := rapid.IntRange(0, n-1).Draw(t, "at")
					next = slices.Delete(next, at, at+1)
					stays = n - 1
				}
			}
			want := []string{}
			for _, r := range next {
				want = append(want, value(r))
			}
			w := Placed(list, next)
			require.Equal(t, old, list, "readers have the old list")
			require.LessOrEqual(t, len(w.Write), len(next)-stays)
			for _, place := range w.Removed {
				require.Contains(t, disk, place)
				delete(disk, place)
			}
			for _, i := range w.Write {
				disk[w.List[i].Place] = value(w.List[i])
			}
			require.Len(t, disk, len(want))
			for i, r := range w.List {
				require.Equal(t, want[i], value(r))
				require.Equal(t, want[i], disk[r.Place])
				require.NotZero(t, r.Place)
				require.True(t, i == 0 || w.List[i-1].Place < r.Place)
			}
			list = w.List
		}
	})
}

// Where there is no room between two places, all get new ones.
func TestPlacedWithoutRoom(t *testing.T) {
	at := func(value string, place uint32) records.Record {
		return records.Record{Value: []byte(value), Place: place}
	}
	fresh := func(value string) records.Record { return records.Record{Value: []byte(value)} }
	for name, test := range map[string]struct{ old, next []records.Record }{
		"in front": {[]records.Record{at("a", 1)}, []records.Record{fresh("b"), at("a", 1)}},
		"between":  {[]records.Record{at("a", 7), at("b", 8)}, []records.Record{at("a", 7), fresh("c"), at("b", 8)}},
		"behind":   {[]records.Record{at("a", beyond-1)}, []records.Record{at("a", beyond-1), fresh("b")}},
	} {
		t.Run(name, func(t *testing.T) {
			w := Placed(test.old, test.next)
			require.Len(t, w.Write, len(test.next))
			require.Len(t, w.Removed, len(test.old))
			require.True(t, slices.IsSortedFunc(w.List, func(a, b records.Record) int { return int(a.Place) - int(b.Place) }))
			require.Equal(t, test.old[0].Place, slices.MinFunc(test.old, func(a, b records.Record) int { return int(a.Place) - int(b.Place) }).Place)
		})
	}
}

func TestRecordEncoding(t *testing.T) {
	optional := func(t *rapid.T, name string) []byte {
		if rapid.Bool().Draw(t, name+" is nil") {
			return nil
		}
		return append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, name)...)
	}
	ends := func(at int64) time.Time { return time.Unix(0, at) }
	rapid.Check(t, func(t *rapid.T) {
		want := records.Record{
			Value: append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "value")...), NodeID: optional(t, "node id"),
			Owned: rapid.Bool().Draw(t, "owned"), Direct: rapid.Bool().Draw(t, "direct"),
			Source: records.Source{Name: rapid.String().Draw(t, "source"), Group: rapid.String().Draw(t, "group")},
		}
		if n := len(want.Value); n > 0 && rapid.Bool().Draw(t, "id within") {
			from := rapid.IntRange(0, n-1).Draw(t, "from")
			want.NodeID = want.Value[from:n]
		}
		if rapid.Bool().Draw(t, "proved") {
			want.Proof = &records.Proof{Envelope: append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "proof")...),
				Sequence: rapid.Int64().Draw(t, "sequence"), Expires: rapid.Int64().Draw(t, "proof's end")}
		}
		at := rapid.Int64Min(0).Draw(t, "ends")
		want.Expires = ends(at)
		entry := appendRecord(nil, &want, at)
		d := decoder{names: map[string]string{}}
		got, err := d.record(entry, ends)
		require.NoError(t, err)
		require.Equal(t, want, got)

		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		place := rapid.Uint32().Draw(t, "place")
		of, gotPlace, ok := parseRecordKey(appendRecordKey(nil, key, place))
		require.True(t, ok)
		require.Equal(t, string(key), string(of))
		require.Equal(t, place, gotPlace)

		for range 20 { // what is no entry is an error, and no panic
			bad := slices.Clone(entry[:rapid.IntRange(0, len(entry)).Draw(t, "cut")])
			if len(bad) > 0 {
				bad[rapid.IntRange(0, len(bad)-1).Draw(t, "flip")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
			}
			_, _ = d.record(bad, ends)
			_, _, _ = parseRecordKey(bad)
		}
	})
	d := decoder{names: map[string]string{}}
	_, err := d.record([]byte{provedFormat + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ends)
	require.ErrorContains(t, err, "format 3, this program knows 1 and 2")
	_, err = d.record(appendRecord(nil, &records.Record{}, -1), ends)
	require.ErrorIs(t, err, errEncoding, "no time is negative")
}

// However far a time of the store or a step of the wall clock is, it comes out as itself or
// as the nearest that there is, never as one from the other end of time.
func TestClockAtTheEndsOfTime(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		last *Reading
		step time.Duration
	}{
		"the first":                          {nil, 0},
		"the wall clock in 1970":             {nil, -time.Duration(time.Now().UnixNano())},
		"before 1970":                        {nil, math.MinInt64},
		"at its end":                         {nil, math.MaxInt64},
		"gone on":                            {&Reading{1 << 60, 1 << 60}, 0},
		"far ahead of the wall clock":        {&Reading{math.MaxInt64 - int64(day), 0}, 0},
		"at its end, and the wall clock too": {&Reading{math.MaxInt64, math.MaxInt64}, math.MaxInt64},
		"far behind the wall clock":          {&Reading{0, math.MaxInt64}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewClock(func() time.Duration { return test.step }, test.last)
			r := c.Read()
			require.GreaterOrEqual(t, r.Store, int64(0))
			require.GreaterOrEqual(t, r.Wall, int64(0))
			if test.last != nil {
				require.GreaterOrEqual(t, r.Store, test.last.Store, "it went back")
			}
			again, ok := readingOf(r.append(nil))
			require.True(t, ok)
			require.Equal(t, r, again)
			for _, at := range []int64{0, 1, r.Store, math.MaxInt64 - 1, math.MaxInt64} {
				require.Equal(t, at, c.ToStore(c.FromStore(at)))
			}
			require.Zero(t, c.ToStore(time.Time{}), "what has always been over")
			require.EqualValues(t, math.MaxInt64, c.ToStore(time.Unix(1<<40, 0)))
			require.False(t, c.FromStore(0).After(time.Now()))
		})
	}
	for name, r := range map[string]Reading{"store": {-1, 0}, "wall": {0, -1}, "both": {math.MinInt64, math.MinInt64}} {
		_, ok := readingOf(r.append(nil))
		require.False(t, ok, name)
	}
}
