package upkeep

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A newcomer that is in no hurry, nor at fault, holds up nobody: neither who joins
// after it nor who comes back. It gets its own in the end.
func TestHandOverBesideASlowNewcomer(t *testing.T) {
	for name, back := range map[string]bool{"who joins": false, "who comes back": true} {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				const count = 1000
				newcomer, _ := fill(s, count)
				slow := newcomer
				slow.ID[31] ^= 1
				slow.Peer = routingtest.Peer(77).Peer
				s.Replies[slow.ID] = after(900*time.Millisecond, names())
				defer startUpkeep(s).Close()
				if back {
					newcomer.StoreID = []byte{0}
					s.Know(newcomer)
					time.Sleep(10 * time.Minute)
					forgetHandOvers(s)
					newcomer = another(s, newcomer)
				}
				s.Know(slow)
				time.Sleep(DefaultHandOverDelay + time.Second)
				s.Know(newcomer)
				time.Sleep(time.Minute)
				require.Equal(t, count, len(handed(s, newcomer)))
				time.Sleep(time.Hour)
				require.GreaterOrEqual(t, len(handed(s, slow)), count)
			})
		})
	}
}

// Another store each time costs no more and no more scans.
func TestWhoAlwaysComesBackIsServedEverMoreRarely(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		c, _ := fill(s, 10)
		c.StoreID = []byte{0}
		defer startUpkeep(s, unhurried).Close()
		times := func(d time.Duration) int {
			before := len(handed(s, c))
			for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(15 * time.Second) {
				c.StoreID = []byte(time.Now().String())
				c.LastSeen = time.Now()
				s.Know(c)
			}
			return (len(handed(s, c)) - before) / 10
		}
		require.LessOrEqual(t, times(10*time.Minute), refills+1)
		require.LessOrEqual(t, times(6*time.Hour), 8)
	})
}

// slowScan is a store that takes its time to list what it has.
type slowScan struct {
	records.Store
	scans atomic.Int64
}

func (s *slowScan) Keys(ctx context.Context, prefix []byte, cursor records.Cursor, max int) ([][]byte, records.Cursor, error) {
	if cursor == "" {
		s.scans.Add(1)
	}
	time.Sleep(time.Second)
	return s.Store.Keys(ctx, prefix, cursor, max)
}

// However many come, the store rests between two scans.
func TestTheStoreRests(t *testing.T) {
	store := &slowScan{Store: records.NewMemoryStore()}
	kept, err := records.New(records.WithStore(store))
	require.NoError(t, err)
	defer kept.Close()
	play(t, 0, func(t *testing.T, s *script) {
		defer startUpkeep(s, unhurried).Close()
		for i := range 600 {
			c := routingtest.Peer(i % 100)
			c.StoreID, c.LastSeen = []byte{byte(i / 100)}, time.Now()
			s.Know(c)
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, store.scans.Load(), int64(2*600/(1+restAfterScan)+2))
		require.Greater(t, store.scans.Load(), int64(30))
	}, routing.WithRecords(kept))
}
