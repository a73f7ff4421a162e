package node

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// startGlass starts a double of an Erlang gateway that registers itself at once.
func startGlass(t *testing.T, opts ...glass.Option) *glass.Gateway {
	t.Helper()
	g, err := glass.Start(append([]glass.Option{glass.RegisterAfter(0)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

func TestNodeKeepsASessionWithAGateway(t *testing.T) {
	g := startGlass(t)
	n := startNode(t, func(c *Config) { c.Bootstrap = []string{g.Endpoint()} })
	publish := &wire.Publish{Topic: "sensor.temp", Payload: wire.RawText("21"), MessageID: []byte("0123456789abcdef")}
	require.Eventually(t, func() bool { return len(n.Uplinks().Sessions()) == 1 }, 2*patience, tick, "a session")

	//lint:ignore SA1019 it is deprecated, and kept
	require.NoError(t, n.Service().Handlers().ForwardPublishToBootstrap(patient(t), publish))
	require.Eventually(t, func() bool { return len(g.Notices()) == 1 }, 2*patience, tick, "the publication came")
	require.Eventually(t, func() bool { return len(n.Service().Routing().Contacts()) == 1 }, 2*patience, tick, "it is a contact")
	require.Equal(t, routing.IDFromBytes(g.NodeID()), n.Service().Routing().Contacts()[0].ID)
	nodes := g.Stored([]byte(wire.GatewayPrefix + n.ID().String()))
	require.Empty(t, nodes, "CONNECT is the registration")

	require.NoError(t, n.Close())
	require.Eventually(t, func() bool { return g.Stats().Open == 0 }, 2*patience, tick, "nothing is left there")
	require.Empty(t, g.Broken())
	require.Empty(t, g.Lapses())
}

func TestClientNodeIsNotListedAtAGateway(t *testing.T) {
	g := startGlass(t)
	n := startNode(t, inMode(ModeClient), func(c *Config) { c.Bootstrap = []string{g.Endpoint()} })
	require.Eventually(t, func() bool { return len(n.Service().Routing().Contacts()) == 1 }, 2*patience, tick, "it is a contact")
	require.Zero(t, g.Stats().Frames[wire.TypeConnect])
	//lint:ignore SA1019 it is deprecated, and kept
	require.ErrorIs(t, n.Service().Handlers().ForwardPublishToBootstrap(patient(t), &wire.Publish{Topic: "t"}), proto.ErrNoConnection)
}

// One list for all nodes of a mesh names each of them.
func TestOtherGateways(t *testing.T) {
	var all []identity.PinnedEndpoint
	for _, text := range []string{"https://gw.example.org:9443", "https://[2001:db8::7]:9443#sha256=" + strings.Repeat("0f", 32), "https://192.0.2.7:9443"} {
		e, err := identity.ParsePinnedEndpoint(text)
		require.NoError(t, err)
		all = append(all, e)
	}
	require.Equal(t, all, otherGateways(all, nil))
	require.Equal(t, all[2:], otherGateways(all, []string{"https://[2001:db8::7]:9443", "https://gw.example.org:9443"}))
}

// A node that knows a macula-node by its endpoint alone joins it over libp2p.
func TestADoorLeadsIn(t *testing.T) {
	a := startNode(t)
	b := startNode(t, func(c *Config) { c.Bootstrap = []string{a.Endpoint()} })
	require.Eventually(t, func() bool { return a.knows(b) && b.knows(a) }, 2*patience, tick, "each is the other's libp2p contact")
	require.Equal(t, uplink.StatePeer, b.Uplinks().Status()[0].State)
	require.Equal(t, a.Host().ID(), b.Uplinks().Status()[0].Peer)
	require.Empty(t, b.Uplinks().Sessions())
	for i, n := range []*Node{a, b} {
		other := []*Node{b, a}[i]
		key := maculadht.ServiceKey(n.ID().String())
		_, err := n.Service().Store(patient(t), key, wire.RawMap(
			wire.Pair{Key: "node_id", Value: wire.RawText(n.ID().String())},
			wire.Pair{Key: "endpoint", Value: wire.RawText(n.Endpoint())},
			wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
		))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			values, err := other.Service().FindValues(patient(t), key)
			return err == nil && len(values.Values) == 1
		}, 2*patience, tick, "stored at one, found at the other")
	}

	require.Len(t, b.Service().Bootstrap(), 1)
	ctx, left := context.WithCancel(t.Context())
	b.joinPeer(ctx, b.Service().Bootstrap()[0].Peer)
	left() // something else answers there
	require.Eventually(t, func() bool { return len(b.Service().Bootstrap()) == 0 }, patience, tick, "it is not kept known any more")
}
