package routing

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// In little more than an hour each node is replaced by a new one, one after the other, and nobody
// publishes anything again. With the upkeep alone the new nodes know each other
// and have the records, for as long as the records were to live and no longer.
func TestRecordsOutliveTheirHolders(t *testing.T) {
	const (
		nodes = min(simDefault/5, 45)
		keys  = 40
		ttl   = 2 * time.Hour
	)
	synctest.Test(t, func(t *testing.T) {
		rng := newRand(13)
		s := newSim(t, nodes, rng)
		defer s.close()
		s.greets = true
		upkeeps := map[*simNode]*Upkeep{}
		tend := func(node *simNode) *Upkeep {
			l, err := NewLookups(node.server, s.network(node))
			require.NoError(t, err)
			upkeeps[node], err = NewUpkeep(l)
			require.NoError(t, err)
			return upkeeps[node]
		}
		defer func() {
			for _, u := range upkeeps {
				u.Close()
			}
		}()
		olds := append([]*simNode(nil), s.live...)
		for _, node := range olds {
			tend(node)
		}
		end := time.Now().Add(ttl)
		stored := make([]ID, keys)
		for i := range stored {
			stored[i] = randomID(rng)
			for _, c := range s.nearest(stored[i], BucketSize, nil) {
				raw := simValue(stored[i].String(), ttl)
				v, err := wire.ParseValue(raw)
				require.NoError(t, err)
				require.NoError(t, s.get(c.ID).server.Records().Store(context.Background(), records.Put{Key: stored[i][:], Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
			}
		}

		for i, old := range olds {
			time.Sleep(time.Hour / nodes)
			upkeeps[old].Close()
			s.kill(old)
			node := newSimNode(t, fmt.Sprint("new-", i))
			s.greet(node, s.random(rng))
			s.add(node)
			require.NoError(t, tend(node).Join(t.Context()))
		}
		time.Sleep(30 * time.Minute) // who waits for a place may be dead too, and is found out once it has it

		require.Greater(t, time.Until(end), 10*time.Minute)
		for _, node := range s.live {
			for _, c := range node.server.Contacts() {
				require.False(t, s.get(c.ID).dead.Load(), "the dead have left")
			}
		}
		for _, key := range stored {
			holders := 0
			for _, c := range s.nearest(key, BucketSize, nil) {
				if _, err := s.get(c.ID).server.Records().Values(context.Background(), key[:]); err == nil {
					holders++
				}
			}
			require.GreaterOrEqual(t, holders, BucketSize/2, "of the nearest")
			from := s.random(rng)
			l, err := NewLookups(from.server, s.network(from))
			require.NoError(t, err)
			found, err := l.Values(t.Context(), key[:])
			require.NoError(t, err)
			require.Len(t, found.Values, 1)
		}

		time.Sleep(time.Until(end) + time.Second)
		for _, node := range s.live {
			for _, key := range stored {
				_, err := node.server.Records().Values(context.Background(), key[:])
				require.ErrorIs(t, err, records.ErrNotFound, "a copy lives no longer than its original")
			}
		}
	})
}
