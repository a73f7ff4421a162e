package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// durability has every third update synced, so that both kinds follow each other.
func durability(i int) records.Durability {
	if i%3 == 0 {
		return records.Synced
	}
	return records.Soon
}

// Nobody waits between two updates of a key, and each sees what the one before it made.
func testUpdateOrder(t *testing.T, s *store) {
	const keys, each = 5, 200
	var done sync.WaitGroup
	var wrong atomic.Int64
	for i := range each {
		for k := range keys {
			done.Add(1)
			change := func(old []records.Record) []records.Record {
				if count(old) != i {
					wrong.Add(1)
				}
				return []records.Record{rec(fmt.Sprint(i+1), 1)}
			}
			s.Update(t.Context(), fmt.Append(nil, k), durability(i), change, func(err error) {
				if err != nil {
					wrong.Add(1)
				}
				done.Done()
			})
		}
	}
	done.Wait()
	require.Zero(t, wrong.Load())
	for k := range keys {
		require.Equal(t, each, count(s.get(fmt.Sprint(k))))
	}
}

// Each of many updates at once is changed once and then done once, and when it is done
// it can be read.
func testUpdateDone(t *testing.T, s *store) {
	const callers, each = 8, 50
	changed, done := make([]atomic.Int32, callers*each), make([]atomic.Int32, callers*each)
	unread := make(chan string, callers*each)
	var calls, all sync.WaitGroup
	all.Add(callers * each)
	for c := range callers {
		calls.Go(func() {
			for i := range each {
				n := c*each + i
				key := fmt.Append(nil, "of caller ", c)
				s.Update(t.Context(), key, durability(i), func([]records.Record) []records.Record {
					changed[n].Add(1)
					return []records.Record{rec(fmt.Sprint(i), 1)}
				}, func(err error) {
					recs, getErr := s.Get(t.Context(), key)
					if err != nil || getErr != nil || count(recs) < i || changed[n].Load() != 1 {
						unread <- fmt.Sprintf("%s: %d, not %d: %v, %v", key, count(recs), i, err, getErr)
					}
					done[n].Add(1)
					all.Done()
				})
			}
		})
	}
	calls.Wait()
	all.Wait()
	select {
	case why := <-unread:
		t.Fatal(why)
	default:
	}
	for n := range done {
		require.EqualValues(t, 1, changed[n].Load())
		require.EqualValues(t, 1, done[n].Load())
	}
}

func testCloseFinishes(t *testing.T, s *store) {
	const updates = 300
	var done, failed atomic.Int32
	for i := range updates {
		s.Update(t.Context(), fmt.Append(nil, i), durability(i), func([]records.Record) []records.Record {
			return []records.Record{rec("v", 1)}
		}, func(err error) {
			if err != nil {
				failed.Add(1)
			}
			done.Add(1)
		})
	}
	s.closed = true
	require.NoError(t, s.Close())
	require.EqualValues(t, updates, done.Load())
	require.Zero(t, failed.Load())
}

func testID(t *testing.T, s *store) {
	require.Len(t, s.ID(), 16)
	require.NotEqual(t, make([]byte, 16), s.ID())
	require.Equal(t, s.ID(), s.ID())
}
