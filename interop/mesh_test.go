package interop

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// startNode starts a node of ours in this process.
func startNode(t *testing.T, bootstrap ...string) *node.Node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	n, err := node.New(node.Config{
		Key:       key,
		Listen:    []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
		Realm:     testRealm,
		Bootstrap: bootstrap,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// startGlass starts a double of an Erlang node that registers itself at once.
func startGlass(t *testing.T, opts ...glass.Option) *glass.Gateway {
	t.Helper()
	g, err := glass.Start(append([]glass.Option{glass.Realm(testRealm), glass.RegisterAfter(0)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// inTime ends with the test, or when it has waited for too long.
func inTime(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// joined waits until a node has a session with a gateway.
func joined(t *testing.T, n *node.Node, g *glass.Gateway) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, c := range n.Uplinks().Sessions() {
			if c.Endpoint == g.Endpoint() {
				return true
			}
		}
		return false
	}, patience, tick, "the node has joined the gateway")
}

// TestMixedMesh: two of our nodes, each beside an Erlang gateway of its own.
//
//	left gateway — left node — right node — right gateway
func TestMixedMesh(t *testing.T) {
	leftGateway, rightGateway := startGlass(t), startGlass(t)
	left := startNode(t, leftGateway.Endpoint())
	right := startNode(t, rightGateway.Endpoint(), left.Addrs()[0].String())
	joined(t, left, leftGateway)
	joined(t, right, rightGateway)
	require.Eventually(t, func() bool {
		_, known := left.Service().Routing().Contact(right.ID())
		_, knows := right.Service().Routing().Contact(left.ID())
		return known && knows
	}, patience, tick, "the nodes know each other")

	t.Run("advertised at a gateway, found at the node that has never met it", func(t *testing.T) {
		key := maculadht.ServiceKey("erlang.greeter")
		value := wire.RawMap(
			wire.Pair{Key: "node_id", Value: wire.RawText(leftGateway.ClientID())},
			wire.Pair{Key: "endpoint", Value: wire.RawText(leftGateway.Endpoint())},
			wire.Pair{Key: "metadata", Value: wire.RawMap()},
			wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
		)
		leftGateway.Store(key, value)
		require.NoError(t, leftGateway.Propagate(inTime(t), key, value))
		var providers []maculadht.Provider
		require.Eventually(t, func() bool {
			var err error
			providers, err = right.Service().FindProviders(inTime(t), "erlang.greeter")
			return err == nil
		}, patience, tick)
		require.Len(t, providers, 1)
		require.Equal(t, leftGateway.Endpoint(), providers[0].Endpoint)
		require.Equal(t, leftGateway.ClientID(), string(providers[0].NodeID))
		for _, c := range right.Service().Routing().Contacts() {
			require.NotEqual(t, leftGateway.Endpoint(), c.Endpoint, "it has not met the gateway")
		}
	})
	t.Run("advertised at a node, found through a gateway", func(t *testing.T) {
		offer, err := right.Service().AdvertiseService(t.Context(), maculadht.Offer{Name: "go.greeter", Endpoint: "https://127.0.0.1:8080"})
		require.NoError(t, err)
		defer offer.Withdraw()
		<-offer.Published()
		key := maculadht.ServiceKey("go.greeter")

		values, err := leftGateway.Lookup(inTime(t), key) // asks the node that is connected to it
		require.NoError(t, err)
		require.Len(t, values, 1)
		endpoint, _ := values[0].Field("endpoint")
		require.Equal(t, wire.RawText("https://127.0.0.1:8080"), endpoint)

		require.Eventually(t, func() bool { return len(rightGateway.Stored(key)) == 1 }, patience, tick,
			"the provider's own gateway was told, and has it itself")
	})
	t.Run("asked of a gateway alone", func(t *testing.T) {
		key := maculadht.ServiceKey("quiet.greeter")
		leftGateway.Store(key, wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText(leftGateway.ClientID())}))
		_, err := left.Service().FindProviders(inTime(t), "quiet.greeter")
		require.NoError(t, err, "our node asks its gateway when the others have missed")
	})

	// None of this has hurt them, or made more than one connection.
	for _, g := range []*glass.Gateway{leftGateway, rightGateway} {
		require.Empty(t, g.Broken())
		require.Empty(t, g.Lapses())
		require.LessOrEqual(t, g.Stats().Open, 1, "one connection of ours")
	}
}

// TestErlangNodesAsClients: those that bootstrap from us are not made to dial
// without end by what we list, and their lookups get their answers.
func TestErlangNodesAsClients(t *testing.T) {
	const poll = 50 * time.Millisecond
	times := glass.ClientTimes(poll, poll)
	ours := startNode(t)
	first, second := startGlass(t, times), startGlass(t, times)
	one, err := first.Bootstrap(inTime(t), ours.Endpoint())
	require.NoError(t, err)
	two, err := second.Bootstrap(inTime(t), ours.Endpoint())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(ours.Service().Routing().Contacts()) == 2 }, patience, tick, "both are verified")

	polls := func(s *glass.Session) int { return s.Received(wire.TypeReply) }
	require.Eventually(t, func() bool { return polls(one) >= 20 && polls(two) >= 20 }, patience, tick)
	for _, g := range []*glass.Gateway{first, second} {
		require.LessOrEqual(t, g.Stats().DialledOpen, 4, "each gateway is dialled once, however often it polls")
	}

	_, err = ours.Service().Store(inTime(t), []byte("k"), wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText(string(aNodeID))}))
	require.NoError(t, err)
	values, err := first.FindValue(inTime(t), ours.Endpoint(), []byte("k"))
	require.NoError(t, err)
	require.Len(t, values, 1)
	values, err = first.FindValue(inTime(t), ours.Endpoint(), []byte("nothing"))
	require.NoError(t, err)
	require.Empty(t, values)
	require.Empty(t, first.Broken())
	require.Empty(t, second.Broken())
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
}
