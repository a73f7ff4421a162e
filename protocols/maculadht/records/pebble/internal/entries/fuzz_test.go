package entries

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// taken is what was read of a database.
type taken struct {
	lists  map[string][]records.Record
	states map[string][]byte
}

func (k *taken) KeepList(key []byte, recs []records.Record) { k.lists[string(key)] = recs }
func (k *taken) KeepState(key string, value []byte)         { k.states[key] = value }

// FuzzEntry: whatever a database holds is read, or refused; what is read is the same when
// it is written again.
func FuzzEntry(f *testing.F) {
	source := records.Source{Name: "192.0.2.1", Group: "192.0.2.0/24"}
	for _, r := range []records.Record{
		{Value: []byte("value"), Source: source},
		{Value: []byte("a value of one"), NodeID: []byte("one"), Owned: true, Direct: true, Source: source},
		{Value: []byte("v"), NodeID: []byte("another"), Proof: &records.Proof{Envelope: []byte("sealed"), Sequence: 1, Expires: 2}},
		{NodeID: []byte{}},
	} {
		f.Add(appendRecordKey(nil, []byte("key"), 7), appendRecord(nil, &r, 1<<40))
	}
	f.Add(clockKey, Reading{1, 2}.append(nil))
	f.Add(clockKey, Reading{math.MaxInt64, 0}.append(nil))
	f.Add(clockKey, Reading{-1, 0}.append(nil))
	f.Add(clockKey, []byte{1})
	f.Add([]byte{statePrefix, 'k'}, []byte("state"))
	f.Add([]byte{recordPrefix, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte{recordFormat, 0xff, 0, 0, 0, 0, 0, 0, 0, 0})
	step := func() time.Duration { return 0 }
	f.Fuzz(func(t *testing.T, key, entry []byte) {
		if len(key) == 0 {
			return // nothing is ever written under it
		}
		into := &taken{map[string][]records.Record{}, map[string][]byte{}}
		l := loading{into: into, names: decoder{names: map[string]string{}}, clock: NewClock(step, nil), step: step}
		err := l.entry(key, entry)
		l.end()
		require.LessOrEqual(t, len(into.lists)+len(into.states), 1)
		if err != nil {
			require.Empty(t, into.lists)
			require.Empty(t, into.states)
		}
		for of, recs := range into.lists {
			require.Len(t, recs, 1)
			again, place, ok := parseRecordKey(appendRecordKey(nil, []byte(of), recs[0].Place))
			require.True(t, ok)
			require.Equal(t, of, string(again))
			require.Equal(t, recs[0].Place, place)
			ends := l.clock.ToStore(recs[0].Expires)
			d := decoder{names: map[string]string{}}
			r, err := d.record(appendRecord(nil, &recs[0], ends), l.clock.FromStore)
			require.NoError(t, err)
			r.Place = place
			require.True(t, r.Expires.Equal(recs[0].Expires))
			r.Expires = recs[0].Expires
			require.Equal(t, recs[0], r)
		}
		if r, ok := readingOf(entry); ok {
			require.Equal(t, entry, r.append(nil))
			c := NewClock(step, &r)
			require.GreaterOrEqual(t, c.Read().Store, r.Store)
			require.Equal(t, r.Store, c.ToStore(c.FromStore(r.Store)))
		}
	})
}
