package glass_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// weakness is one thing that breaks a gateway.
type weakness struct {
	opts []glass.Option
	do   func(g *glass.Gateway, c client)
	want glass.Break
}

// whole sends one frame of a payload that no encoder of ours makes.
func whole(typ wire.Type, payload wire.Raw) func(*glass.Gateway, client) {
	return func(_ *glass.Gateway, c client) { c.open().send(made(typ, payload)) }
}

// stopped asks and stops reading before the reply.
func stopped(m wire.Message) func(*glass.Gateway, client) {
	return func(g *glass.Gateway, c client) {
		letGo := g.HoldReplies(m.Type())
		k := c.open()
		k.send(encode(c.tb, m))
		eventually(c.tb, func() bool { return g.Stats().Asking[m.Type()] == 1 }, "asked")
		k.CancelRead(0)
		g.WaitBroken(within(c.tb))
		letGo()
	}
}

var weaknesses = map[string]weakness{
	"CancelRead before the reply to PING": {
		do:   stopped(&wire.Ping{}),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseStopSending, Detail: "ping"}},
	"CancelRead before the reply to CONNECT": {
		do:   stopped(connecting("node")),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseStopSending, Detail: "connect"}},
	"CancelRead before the reply to NAT_PROBE": {
		do:   stopped(&wire.NATProbe{NodeID: id16, RequestID: id16}),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseStopSending, Detail: "nat_probe"}},
	"CONNECT of another realm": {
		do: func(_ *glass.Gateway, c client) {
			m := connecting("node")
			m.RealmID = "other.realm"
			c.open().send(encode(c.tb, m))
		},
		want: glass.Break{Kind: glass.Hang, Why: glass.CauseOtherRealm, Detail: `"other.realm", a bin`}},
	"CONNECT with its realm in str": {
		do:   whole(wire.TypeConnect, mapping("node_id", "node", "endpoint", "", "realm_id", wire.Raw("\xb0"+realm))),
		want: glass.Break{Kind: glass.Hang, Why: glass.CauseOtherRealm, Detail: `"be.cortexiq.test", a str`}},
	"CONNECT without endpoint": {
		do:   whole(wire.TypeConnect, mapping("node_id", "node", "realm_id", realm)),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseNoEndpoint}},
	"CONNECT with endpoint nil": {
		do:   whole(wire.TypeConnect, mapping("node_id", "node", "realm_id", realm, "endpoint", wire.Raw{0xc0})),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseNoEndpoint}},
	"CONNECT with keys in str": {
		do:   whole(wire.TypeConnect, inStr("node_id", "node", "realm_id", realm, "endpoint", "")),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseTextKeys, Detail: "connect: realm_id"}},
	"CALL with keys in str": {
		do:   whole(wire.TypeCall, inStr("procedure", wire.ProcedureListGateways, "args", wire.RawMap(), "call_id", id16)),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseTextKeys, Detail: "call: procedure"}},
	"CALL without call_id": {
		do:   whole(wire.TypeCall, mapping("procedure", wire.ProcedureListGateways)),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseMissingField, Detail: "call: call_id"}},
	"STORE of a gateway's key": {
		do: func(_ *glass.Gateway, c client) {
			c.tell(&wire.Store{Key: []byte("peer.gateway.a"), Value: provider("a")})
		},
		want: glass.Break{Kind: glass.Discovery, Why: glass.CauseGatewayKey, Detail: "peer.gateway.a"}},
	"_dht.store of a gateway's key": {
		do: func(_ *glass.Gateway, c client) {
			args := procedures.StoreArgs{Key: []byte("peer.gateway.a"), Value: provider("a")}
			reply := c.ask(&wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: id16}).(*wire.Reply)
			require.Nil(c.tb, reply.Error, "it does not notice at once")
		},
		want: glass.Break{Kind: glass.Discovery, Why: glass.CauseGatewayKey, Detail: "peer.gateway.a"}},
	"FIND_NODE without target": {
		do:   whole(wire.TypeFindNode, mapping("type", "find_node")),
		want: glass.Break{Kind: glass.Crash, Why: glass.CauseNoTarget}},
	"FIND_NODE to one that itself bootstrapped": {
		opts: []glass.Option{glass.BootstrappedFrom("https://127.0.0.1:1", id16), glass.PeerTimeout(time.Millisecond)},
		do:   func(_ *glass.Gateway, c client) { c.open().send(encode(c.tb, &wire.FindNode{Target: id16})) },
		want: glass.Break{Kind: glass.Crash, Why: glass.CauseBootstrapNode}},
	"STORE of a value that is no map": {
		do:   whole(wire.TypeStore, mapping("type", "store", "key", "k", "value", "text")),
		want: glass.Break{Kind: glass.Crash, Why: glass.CauseStoreValue, Detail: "bin"}},
	"STORE without a value": {
		do:   whole(wire.TypeStore, mapping("type", "store", "key", "k")),
		want: glass.Break{Kind: glass.Crash, Why: glass.CauseMissingField, Detail: "store: value"}},
	"_dht.store of a value that is no map": {
		do: whole(wire.TypeCall, mapping("procedure", wire.ProcedureStore, "call_id", id16,
			"args", mapping("key", "k", "value", wire.RawArray(wire.RawText("a"))))),
		want: glass.Break{Kind: glass.Crash, Why: glass.CauseStoreValue, Detail: "_dht.store: array"}},
	"_dht.store with args of text": {
		do:   whole(wire.TypeCall, mapping("procedure", wire.ProcedureStore, "call_id", id16, "args", "{}")),
		want: glass.Break{Kind: glass.Crash, Why: glass.CauseStoreArgs, Detail: "bin"}},
	"a payload that is no map": {
		do:   whole(wire.TypePing, wire.RawInt(5)),
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseNotMap, Detail: "ping"}},
	"a miss that takes too long": {
		opts: []glass.Option{glass.MissTakes(never), glass.MissLimit(soon), glass.PeerTimeout(time.Millisecond)},
		do:   func(_ *glass.Gateway, c client) { c.open().send(encode(c.tb, &wire.FindValue{Key: []byte("miss")})) },
		want: glass.Break{Kind: glass.GatewayCrash, Why: glass.CauseSlowMiss, Detail: "more than 50ms"}},
}

// Each weakness of the reference breaks a gateway, in its way and no other.
func TestWeaknesses(t *testing.T) {
	t.Parallel()
	for name, w := range weaknesses {
		t.Run(name, func(t *testing.T) {
			g := start(t, append([]glass.Option{glass.DiscoverEvery(soon)}, w.opts...)...)
			guest := dial(t, g)
			session := guest.open()
			session.ask(connecting("guest"))
			g.Store([]byte("kept"), provider("own"))
			require.Empty(t, g.Broken())

			w.do(g, dial(t, g))
			first, err := g.WaitBroken(within(t))
			require.NoError(t, err)
			require.Equal(t, w.want, first)
			require.Equal(t, []glass.Break{w.want}, g.Broken())

			switch w.want.Kind {
			case glass.Hang:
				requireHangs(t, g, session)
			case glass.Crash:
				require.Empty(t, g.Stored([]byte("kept")))
				requireForgotten(t, g, session)
			case glass.GatewayCrash:
				require.Len(t, g.Stored([]byte("kept")), 1, "the records stay")
				requireForgotten(t, g, session)
			case glass.Discovery:
				require.Len(t, g.Stored([]byte("kept")), 1, "nothing is lost")
				eventually(t, func() bool { return g.Stats().DiscoveryCrashes > 2 }, "over and over")
				session.ask(&wire.Ping{})
			}
		})
	}
}

// requireHangs requires that nobody is answered, old or new.
func requireHangs(t *testing.T, g *glass.Gateway, session *talk) {
	t.Helper()
	total := g.Stats().Total()
	newcomer := dial(t, g).open() // QUIC goes on
	for _, k := range []*talk{session, newcomer} {
		k.send(encode(t, &wire.Ping{}))
	}
	eventually(t, func() bool { return g.Stats().Total() == total+2 }, "they came")
	for _, k := range []*talk{session, newcomer} {
		k.SetReadDeadline(time.Now().Add(soon))
		_, err := k.next()
		require.Error(t, err)
	}
}

// requireForgotten requires that it goes on, but does not know its clients.
func requireForgotten(t *testing.T, g *glass.Gateway, session *talk) {
	t.Helper()
	session.ask(&wire.Ping{})
	g.Store([]byte("new"), provider("own"))
	found := dial(t, g).ask(&wire.FindValue{Key: []byte("new")}).(*wire.FindValueReply)
	require.Len(t, found.Values, 1)
	sent, err := g.Push(&wire.Publish{Topic: "t"})
	require.NoError(t, err)
	require.Zero(t, sent, "no guest is left")
}

// Who stops reading at once, before the gateway has even seen the frame, breaks
// it just as well.
func TestStopWithTheQuestion(t *testing.T) {
	g := start(t)
	c := dial(t, g)
	for range 100 {
		k := c.open()
		k.send(encode(t, &wire.Ping{}))
		k.CancelRead(0)
		if len(g.Broken()) > 0 {
			break
		}
	}
	eventually(t, func() bool { return len(g.Broken()) > 0 }, "broken")
	require.Equal(t, glass.CauseStopSending, g.Broken()[0].Why)
}

// What only wastes its time: it answers nobody while it asks its peers on a
// miss.
func TestBusyWithAMiss(t *testing.T) {
	g := start(t, glass.MissTakes(4*soon))
	c := dial(t, g)
	lookup := c.open()
	begun := time.Now()
	lookup.send(encode(t, &wire.FindValue{Key: []byte("miss")}))
	eventually(t, func() bool { return g.Stats().Asking[wire.TypeFindValue] == 1 }, "asked")
	c.ask(&wire.Ping{})
	require.GreaterOrEqual(t, time.Since(begun), 4*soon, "the PING had to wait")
	_, err := lookup.next()
	require.NoError(t, err)
	require.Empty(t, g.Broken())
}

// Two that know each other stall each other.
func TestTwoThatKnowEachOther(t *testing.T) {
	a := start(t, glass.PeerTimeout(4*soon))
	b := start(t, glass.PeerTimeout(4*soon), glass.BootstrappedFrom(a.Endpoint(), a.NodeID()))
	m := connecting("b")
	m.Endpoint = b.Endpoint()
	dial(t, a).ask(m)
	begun := time.Now()
	reply := dial(t, a).ask(&wire.FindValue{Key: []byte("miss")}).(*wire.FindValueReply)
	require.Empty(t, reply.Values)
	require.GreaterOrEqual(t, time.Since(begun), 4*soon)
	require.Positive(t, b.Stats().Frames[wire.TypeFindValue], "each has asked the other")
	require.Positive(t, a.Stats().Dialled)
	eventually(t, func() bool { return a.Stats().Frames[wire.TypeFindValue] > 1 }, "and was asked back")
	require.Empty(t, a.Broken())
}

func TestWaitBrokenGivesUp(t *testing.T) {
	g := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.WaitBroken(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
