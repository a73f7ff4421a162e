package interop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// A gateway with which there is a session, and that itself is connected to us, is
// one contact: its certificate links the id of its PONG with the one of its
// CONNECT.
func TestGatewayOnBothSidesIsOneContact(t *testing.T) {
	const often = 50 * time.Millisecond
	erlang := startGlass(t, glass.ClientTimes(often, often))
	r, err := routing.NewServer(routing.IDFromBytes([]byte("the gateway")))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	mux, err := server.NewMux()
	require.NoError(t, err)
	handlers, err := dht.New(mux, r, dht.WithRealm(testRealm),
		dht.WithEndpoint(func() string { return "https://gateway.example:9443" }))
	require.NoError(t, err)
	d, err := dialer.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	ours, err := gateway.New(handlers, gateway.WithDialer(d))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ours.Close()) })
	addr, err := ours.ListenOn("127.0.0.1:0", certificate(t))
	require.NoError(t, err)
	at, err := identity.ParsePinnedEndpoint(erlang.Endpoint())
	require.NoError(t, err)
	intervals := uplink.DefaultIntervals()
	intervals.Ping, intervals.LookAgain = often, often
	u, err := uplink.New(d, handlers, []identity.PinnedEndpoint{at}, uplink.WithIntervals(intervals))
	require.NoError(t, err)
	t.Cleanup(u.Close)
	require.Eventually(t, func() bool { return len(u.Sessions()) == 1 }, patience, tick, "a session")

	s, err := erlang.Bootstrap(inTime(t), "https://"+addr.String())
	require.NoError(t, err)
	pings := func() int { return erlang.Stats().Frames[wire.TypePing] }
	before := pings()
	require.Eventually(t, func() bool { return pings() >= before+5 }, patience, tick, "it is verified as a client too")
	contacts := r.Contacts()
	require.Len(t, contacts, 1)
	require.Equal(t, erlang.NodeID(), contacts[0].NodeID)
	require.Equal(t, erlang.ClientID(), contacts[0].ClientID)
	require.Len(t, r.FindNode([]byte("k")), 1, "it is named once")
	require.Equal(t, 1, erlang.Stats().Accepted, "and reached over one connection")
	require.NoError(t, s.Close())
	require.Empty(t, erlang.Broken())
	require.Empty(t, erlang.Lapses())
	require.Empty(t, erlang.Lost())
}
