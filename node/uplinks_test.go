package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
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
	publish := &wire.Publish{Topic: "sensor.temp", Payload: wire.RawText("21")}
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
	var all []dialer.PinnedEndpoint
	for _, text := range []string{"https://gw.example.org:9443", "https://[2001:db8::7]:9443#sha256=" + strings.Repeat("0f", 32), "https://192.0.2.7:9443"} {
		e, err := dialer.ParsePinnedEndpoint(text)
		require.NoError(t, err)
		all = append(all, e)
	}
	require.Equal(t, all, otherGateways(all, nil))
	require.Equal(t, all[2:], otherGateways(all, []string{"https://[2001:db8::7]:9443", "https://gw.example.org:9443"}))
}
