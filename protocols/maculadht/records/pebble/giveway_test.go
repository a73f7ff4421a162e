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
	put := func(m *records.Manager, who string, n int) (kept int) {
		done := make(chan error, n)
		for i := range n {
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
	m := open()
	require.Equal(t, room, put(m, "one", room))
	require.NoError(t, m.Close())

	m = open()
	require.Eventually(t, func() bool { return put(m, "two", 1) == 1 }, 10*time.Second, time.Millisecond, "as soon as they were found")
	require.Equal(t, 30, put(m, "two", 30))
	require.Positive(t, put(m, "one", 100), "in the place of its own")
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

// Others make no room for what is refused, though it waits with what is stored.
func TestNoRoomIsMadeForWhatIsRefused(t *testing.T) {
	const size, room = 10_000, 20
	s, err := Open(t.TempDir(), us)
	require.NoError(t, err)
	m, err := records.New(records.WithStore(s), records.WithLimits(records.Limits{Bytes: room * size, BytesPerSource: room * size}))
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	put := func(who string, n int, ttl time.Duration, done func(error)) {
		key := fmt.Appendf(nil, "%s %03d", who, n)
		m.StoreThen(t.Context(), records.Put{
			Key: key, NodeID: []byte("n"), Value: make([]byte, size-len(key)-records.RecordOverhead), TTL: ttl,
			Source: records.Source{Name: who, Group: who},
		}, done)
	}
	done := make(chan error, room)
	for i := range room - 1 {
		who := "one"
		if i < room/4 {
			who = "three"
		}
		put(who, i, time.Hour, func(err error) { done <- err })
		require.NoError(t, <-done)
	}
	told, goOn := make(chan error), make(chan struct{})
	put("one", room-1, time.Hour, func(err error) {
		told <- err
		<-goOn // what follows waits
	})
	require.NoError(t, <-told)
	for i := range 5 { // who has most, and nothing that goes before
		put("one", room+i, time.Minute, func(err error) { done <- err })
	}
	put("two", 0, time.Hour, func(err error) { done <- err })
	close(goOn)
	for range 5 {
		require.ErrorIs(t, <-done, records.ErrStoreFull)
	}
	require.NoError(t, <-done)
	require.EqualValues(t, 1, m.Stats().GaveWay)
	require.EqualValues(t, room, m.Stats().Records)
}
