package pebble

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// What was stored before the store was opened gives way too, on the disk as well, and also
// while many values wait for it at once.
func TestWhatWasThereGivesWay(t *testing.T) {
	const size, room = 10_000, 100
	dir := t.TempDir()
	open := func() *records.Manager {
		s, err := Open(dir, us)
		require.NoError(t, err)
		m, err := records.New(records.WithStore(s), records.WithLimits(records.Limits{Bytes: room * size, BytesPerSource: room * size}))
		require.NoError(t, err)
		return m
	}
	putFrom := func(m *records.Manager, who string, from, n int) (kept int) {
		done := make(chan error, n)
		for i := from; i < from+n; i++ {
			key := fmt.Appendf(nil, "%s %03d", who, i)
			m.StoreThen(context.Background(), records.Put{
				Key: key, NodeID: []byte("n"), Value: make([]byte, size-len(key)-records.RecordOverhead), TTL: time.Hour,
				Source: records.Source{Name: who, Group: who},
			}, func(err error) { done <- err })
		}
		for range n {
			if <-done == nil {
				kept++
			}
		}
		return kept
	}
	put := func(m *records.Manager, who string, n int) int { return putFrom(m, who, 0, n) }
	m := open()
	require.Equal(t, room, put(m, "one", room))
	require.NoError(t, m.Close())

	m = open()
	require.Eventually(t, func() bool { return put(m, "two", 1) == 1 }, 10*time.Second, time.Millisecond, "as soon as they were found")
	require.Equal(t, 30, put(m, "two", 30))
	// One after the other: what gives way under a key while that is stored anew may leave
	// both out.
	kept := 0
	for i := range 100 {
		kept += putFrom(m, "one", i, 1)
	}
	require.Positive(t, kept, "in the place of its own")
	stats := m.Stats()
	require.LessOrEqual(t, stats.Bytes, int64(room*size))
	require.Greater(t, stats.Records, int64(room-5), "no more has gone than had to")
	require.NoError(t, m.Close())

	m = open()
	require.Equal(t, stats.Records, m.Stats().Records, "it is gone from the disk")
	for i := range 30 {
		_, err := m.Values(t.Context(), fmt.Appendf(nil, "two %03d", i))
		require.NoError(t, err)
	}
	require.NoError(t, m.Close())
}
