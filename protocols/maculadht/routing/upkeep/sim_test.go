package upkeep

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

var (
	simNodes = flag.Int("sim.nodes", 24, "how many nodes TestRecordsOutliveTheirHolders has, more than a bucket has room for")
	simKeys  = flag.Int("sim.keys", 30, "how many records it has")
)

// In little more than an hour each node is replaced by a new one, one after the other, and nobody
// publishes anything again. With the upkeep alone the new nodes know each other
// and have the records, for as long as the records were to live and no longer.
//
//	go test ./protocols/maculadht/routing/upkeep -run TestRecordsOutlive -sim.nodes 100 -sim.keys 200
func TestRecordsOutliveTheirHolders(t *testing.T) {
	const ttl = 2 * time.Hour
	nodes, keys := *simNodes, *simKeys
	synctest.Test(t, func(t *testing.T) {
		rng := routingtest.Rand(13)
		s := routingtest.NewSim(t, nodes, rng)
		defer s.Close()
		s.Greets = true
		upkeeps := map[*routingtest.SimNode]*Upkeep{}
		tend := func(node *routingtest.SimNode) *Upkeep {
			l, err := lookup.New(node.Server, s.Network(node))
			require.NoError(t, err)
			upkeeps[node], err = New(l)
			require.NoError(t, err)
			return upkeeps[node]
		}
		defer func() {
			for _, u := range upkeeps {
				u.Close()
			}
		}()
		olds := append([]*routingtest.SimNode(nil), s.Live...)
		for _, node := range olds {
			tend(node)
		}
		end := time.Now().Add(ttl)
		stored := make([]routing.ID, keys)
		for i := range stored {
			stored[i] = routingtest.RandomID(rng)
			for _, c := range s.Nearest(stored[i], routing.BucketSize, nil) {
				raw := routingtest.ValueOf(stored[i].String(), ttl)
				v, err := values.Parse(raw)
				require.NoError(t, err)
				require.NoError(t, s.Get(c.ID).Server.Records().Store(context.Background(), records.Put{Key: stored[i][:], Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
			}
		}

		for i, old := range olds {
			time.Sleep(time.Hour / time.Duration(nodes))
			upkeeps[old].Close()
			s.Kill(old)
			node := routingtest.NewSimNode(t, fmt.Sprint("new-", i))
			s.Greet(node, s.Random(rng))
			s.Add(node)
			require.NoError(t, tend(node).Join(t.Context()))
		}
		time.Sleep(30 * time.Minute) // who waits for a place may be dead too, and is found out once it has it

		require.Greater(t, time.Until(end), 10*time.Minute)
		for _, node := range s.Live {
			for _, c := range node.Server.Contacts() {
				require.False(t, s.Get(c.ID).Dead.Load(), "the dead have left")
			}
		}
		for _, key := range stored {
			holders := 0
			for _, c := range s.Nearest(key, routing.BucketSize, nil) {
				if _, err := s.Get(c.ID).Server.Records().Values(context.Background(), key[:]); err == nil {
					holders++
				}
			}
			require.GreaterOrEqual(t, holders, routing.BucketSize/2, "of the nearest")
			from := s.Random(rng)
			l, err := lookup.New(from.Server, s.Network(from))
			require.NoError(t, err)
			found, err := l.Values(t.Context(), key[:])
			require.NoError(t, err)
			require.Len(t, found.Values, 1)
		}

		time.Sleep(time.Until(end) + time.Second)
		for _, node := range s.Live {
			for _, key := range stored {
				_, err := node.Server.Records().Values(context.Background(), key[:])
				require.ErrorIs(t, err, records.ErrNotFound, "a copy lives no longer than its original")
			}
		}
	})
}
