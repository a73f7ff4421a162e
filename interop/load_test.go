package interop

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var loadOperations = flag.Int("load.operations", 3000, "how much TestGatewayOutlivesOurLoad asks and tells")

const (
	loadCallers    = 32
	loadReconnects = 100
)

// TestGatewayOutlivesOurLoad: all that a node of ours asks and tells an Erlang
// gateway, from many callers at once that change their minds at any time, over
// connections that are lost again and again, does it no harm.
//
//	go test ./interop -run TestGatewayOutlivesOurLoad -load.operations 10000 -v
func TestGatewayOutlivesOurLoad(t *testing.T) {
	t.Parallel()
	computing.Lock()
	defer computing.Unlock()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := startGlass(t)
	n := startNode(t)
	endpoint, err := identity.ParsePinnedEndpoint(g.Endpoint())
	require.NoError(t, err)
	limits := dialer.DefaultLimits()
	limits.MaxDials = loadReconnects // a node's own dialer waits after so many losses
	d, err := dialer.New(dialer.WithLimits(limits))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	intervals := uplink.DefaultIntervals()
	intervals.FirstRetry, intervals.LastRetry = 10*time.Millisecond, 100*time.Millisecond // a node waits longer after so many losses
	uplinks, err := uplink.New(d, n.Service().Handlers(), []identity.PinnedEndpoint{endpoint},
		uplink.WithIntervals(intervals))
	require.NoError(t, err)
	t.Cleanup(uplinks.Close)
	joined := func() bool { return len(uplinks.Sessions()) == 1 }
	require.Eventually(t, joined, patience, tick, "the node has joined the gateway")
	gateway := uplinks.Sessions()[0]

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var done atomic.Int64
	var callers sync.WaitGroup
	for caller := range loadCallers {
		rng := rand.New(rand.NewPCG(seed, uint64(caller)))
		callers.Go(func() {
			for done.Add(1) <= int64(*loadOperations) && ctx.Err() == nil {
				operate(ctx, rng, n, d, uplinks, gateway)
			}
		})
	}
	ended := make(chan struct{})
	go func() { callers.Wait(); close(ended) }()
	for lost := 1; lost <= loadReconnects; lost++ {
		share := int64(lost * *loadOperations / (loadReconnects + 1))
		require.Eventually(t, func() bool { return done.Load() >= share }, time.Minute, tick, "%d operations", share)
		g.DropClients()
		if lost%10 == 0 { // a newcomer takes records over, and goes again
			startNode(t, n.Addrs()[0].String())
		}
	}
	<-ended
	require.NoError(t, ctx.Err())

	require.Empty(t, g.Broken())
	require.Empty(t, g.Lapses())
	require.Eventually(t, joined, patience, tick, "and joined it again")
	require.Eventually(t, func() bool { return g.Stats().Open <= 2 }, patience, tick, "one connection of each dialer is left")
	require.Eventually(t, func() bool { return g.Stats().Streams <= 1 }, patience, tick, "and one stream, that of the session")
	_, err = client.Ping(inTime(t), d, gateway)
	require.NoError(t, err)
	stats := g.Stats()
	t.Logf("%d frames over %d connections: %v", stats.Total(), stats.Accepted, stats.Frames)
	require.Greater(t, stats.Accepted, loadReconnects/2, "connections were lost and made anew")
}

// operate does one thing that a node does to a gateway, and gives one in three up
// before it is done. What comes of it does not matter here.
func operate(ctx context.Context, rng *rand.Rand, n *node.Node, d *dialer.Dialer, uplinks *uplink.Uplinks, gateway routing.Contact) {
	limit := 5 * time.Second
	if rng.IntN(3) == 0 {
		limit = time.Duration(rng.IntN(5000)) * time.Microsecond
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	key := fmt.Appendf(nil, "service-%d", rng.IntN(200))
	value := wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText(string(nodeIDNo(rng.IntN(5))))},
		wire.Pair{Key: "endpoint", Value: wire.RawText("https://127.0.0.1:8080")},
		wire.Pair{Key: "metadata", Value: wire.RawMap(wire.Pair{Key: "filler", Value: wire.RawBytes(make([]byte, rng.IntN(2000)))})},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
	)
	switch rng.IntN(9) {
	case 0:
		client.Ping(ctx, d, gateway)
	case 1:
		client.FindValue(ctx, d, gateway, key)
	case 2:
		client.Put(ctx, d, gateway, procedures.StoreArgs{Key: key, Value: value})
	case 3:
		d.Send(ctx, gateway, &wire.Store{Key: key, Value: value})
	case 4:
		client.ListGateways(ctx, d, gateway)
	case 5:
		uplinks.Publish(ctx, &wire.Publish{Topic: "t", Payload: wire.RawText("p"), MessageID: []byte("0123456789abcdef")})
	case 6:
		n.Service().FindValues(ctx, key)
	case 7:
		n.Service().Store(ctx, key, value)
	case 8: // what must not leave at all
		d.Send(ctx, gateway, &wire.Store{Key: []byte(wire.GatewayPrefix + "x"), Value: value})
		d.Query(ctx, gateway, &wire.FindNode{Target: key})
		d.Query(ctx, gateway, &wire.Connect{NodeID: key, RealmID: "other"})
	}
}
