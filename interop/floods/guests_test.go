package floods

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Erlang nodes that only CONNECT to a gateway, under random ids and under ids that are
// nearest to what is sought: what is one hop away is found through it as before.
func TestGuests(t *testing.T) {
	x := startNode(t, conns.Limits{})
	holder := startNode(t, conns.Limits{}, x.Addrs()[0].String())
	knows := func(n, other *node.Node) bool {
		c, ok := n.Service().Routing().Contact(other.ID())
		return ok && c.Verified
	}
	require.Eventually(t, func() bool { return knows(x, holder) && knows(holder, x) }, patience, tick)
	keys := make([][32]byte, whenLong(100, 20))
	for i := range keys {
		keys[i] = sha256.Sum256(fmt.Append(nil, "service ", i))
		b := frames(t, 1, &wire.Store{Key: keys[i][:], Value: wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(keys[0][:])})})
		_, err := holder.Service().Handlers().HandleQuery(t.Context(), b) // kept at the holder alone
		require.NoError(t, err)
	}
	// lookUp has an app that has just joined look for all of them.
	lookUp := func() (found int, took time.Duration) {
		app := startNode(t, conns.Limits{}, x.Addrs()[0].String())
		require.Eventually(t, func() bool { return knows(app, x) }, patience, tick)
		start := time.Now()
		for _, key := range keys {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if values, err := app.Service().FindValues(ctx, key[:]); err == nil && len(values.Values) == 1 {
				found++
			}
			cancel()
		}
		return found, time.Since(start) / time.Duration(len(keys))
	}
	before, tookBefore := lookUp()

	to := &target{addr: udpOf(t, x.Addrs()[0]), node: x}
	from := sources(t, 4)
	random, chosen := whenLong(400, 60), 20
	for i := range random + chosen {
		id := sha256.Sum256(fmt.Append(nil, "guest ", i))
		if i >= random {
			id = keys[i%len(keys)]
			id[31] ^= byte(i + 1)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		conn, err := from[i%len(from)].dial(ctx, to, erlang, nil)
		require.NoError(t, err)
		s, err := open(ctx, conn, erlang)
		require.NoError(t, err)
		answer, err := ask(ctx, s, &wire.Connect{Version: "1.0", NodeID: id[:], RealmID: proto.DefaultRealm, Endpoint: "https://127.0.0.1:1"})
		cancel()
		require.NoError(t, err)
		require.IsType(t, &wire.Pong{}, answer)
	}
	require.Equal(t, random+chosen, x.Service().Routing().Stats().Guests)
	after, tookAfter := lookUp()
	t.Logf("before: %d of %d found, %v each; with %d guests: %d found, %v each", before, len(keys), tookBefore.Round(10*time.Microsecond),
		random+chosen, after, tookAfter.Round(10*time.Microsecond))
	require.Equal(t, len(keys), before)
	require.Equal(t, before, after)
}
