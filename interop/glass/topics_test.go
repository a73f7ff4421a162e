package glass_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// A topic's record that kills does so at each PUBLISH of the topic, also where
// it was found at somebody else: here in our own FIND_VALUE_REPLY.
func TestTopicRecordsThatKill(t *testing.T) {
	for name, test := range map[string]struct {
		record wire.Raw
		why    glass.Cause // none: harmless
		detail string
	}{
		"node_id of 2 bytes":    {mapping("node_id", "me", "endpoint", "https://127.0.0.1:1"), glass.CauseTopicNodeID, "2 bytes"},
		"node_id of 31 bytes":   {mapping("node_id", id32[:31]), glass.CauseTopicNodeID, "31 bytes"},
		"node_id that is str":   {mapping("node_id", wire.Raw("\xb0"+string(id16))), glass.CauseTopicNodeID, "str"},
		"node_id of nil":        {mapping("node_id", wire.Raw{0xc0}), glass.CauseTopicNodeID, "nil"},
		"endpoint of nil":       {mapping("node_id", id32, "endpoint", wire.Raw{0xc0}), glass.CauseTopicEndpoint, "nil"},
		"endpoint that is str":  {mapping("node_id", id32, "endpoint", wire.Raw("\xa1a")), glass.CauseTopicEndpoint, "str"},
		"no node_id":            {mapping("endpoint", "https://127.0.0.1:1"), "", ""},
		"no endpoint":           {mapping("node_id", id32), "", ""},
		"endpoint that is none": {mapping("node_id", id32, "endpoint", "nonsense"), "", ""},
		"64 digits":             {mapping("node_id", hexB, "endpoint", "https://127.0.0.1:19"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.record(offering(w, wire.RawArray(test.record), silent))
				g := w.start(glass.BootstrappedFrom(r.endpoint, id32))
				for range 2 {
					g.Publish(glass.Publication{Topic: realm + ".t", Payload: wire.RawMap()})
					w.Pass(10 * time.Second)
				}
				if test.why == "" {
					require.Empty(w, g.Broken())
					return
				}
				want := glass.Break{Kind: glass.GatewayCrash, Why: test.why, Detail: test.detail}
				require.Equal(w, []glass.Break{want, want}, g.Broken())
			})
		})
	}
}

func TestTopicsOfAnotherRealm(t *testing.T) {
	inWorld(t, func(w *world) {
		r, _, s := caller(w, yes(w))
		for _, topic := range []string{"public.x", "other.ns.x", "be.cortexiq.testing"} {
			require.ErrorIs(w, s.Publish(glass.Publication{Topic: topic, Payload: wire.RawText("{}")}), glass.ErrNotOwned)
		}
		require.NoError(w, s.Subscribe("public.x"), "which nobody checks")
		w.Pass(time.Second)
		require.Zero(w, count(r.frames(0), wire.TypePublish))
	})
}

func TestPatterns(t *testing.T) {
	for pattern, topics := range map[string][2][]string{
		"w.*":      {{"w.a"}, {"w", "w.a.b"}},
		"w.**":     {{"w", "w.a", "w.a.b"}, {"v.a"}},
		"a.**.end": {{"a.end", "a.b.end", "a.b.c.end"}, {"a.b"}},
		"*.b.c":    {{"a.b.c"}, {"b.c", "x.a.b.c"}},
	} {
		t.Run(pattern, func(t *testing.T) {
			g := start(t)
			g.Subscribe(pattern)
			for i, topic := range topics[0] {
				g.Publish(glass.Publication{Topic: topic, Payload: wire.RawMap()})
				require.Len(t, g.Got(), i+1, topic)
			}
			for _, topic := range topics[1] {
				g.Publish(glass.Publication{Topic: topic, Payload: wire.RawMap()})
				require.Len(t, g.Got(), len(topics[0]), topic)
			}
		})
	}
}

// TestClientScenes has a double be the recorded clients: what they say, on which
// stream, and when.
func TestClientScenes(t *testing.T) {
	all := scenes(t, "live-one-gateway.json")
	inWorld(t, func(w *world) {
		r := w.record(yes(w))
		g := w.start(glass.BootstrappedFrom(r.endpoint, id32))
		b, err := g.Connect(within(w), r.endpoint, nil)
		require.NoError(w, err)
		require.Len(w, b.ID(), 32)
		c, err := g.Connect(within(w), r.endpoint, nil)
		require.NoError(w, err)
		require.NotEqual(w, b.ID(), c.ID())

		own := []string{"node_id", "endpoint"} // differ in value and length
		said := func(conn int, typ wire.Type, i int) framing.Frame {
			var of []framing.Frame
			for _, f := range r.frames(conn) {
				if f.Type == typ {
					of = append(of, f)
				}
			}
			require.Greater(w, len(of), i, "%s", typ)
			return of[i]
		}
		t1, t2, u1 := realm+".t1", realm+".public.t2", realm+".u1"
		require.NoError(w, b.Subscribe(t1))
		require.NoError(w, c.Publish(glass.Publication{Topic: t1, Payload: wire.RawText(`{"hello":1}`)}))
		require.NoError(w, c.Publish(glass.Publication{Topic: t2, Payload: wire.RawText(`{"hello":2}`)}))
		for range 2 { // n04 has two more
			require.NoError(w, c.Publish(glass.Publication{Topic: t1, Payload: wire.RawText("{}")}))
		}
		require.NoError(w, c.Publish(glass.Publication{Topic: t1, Payload: wire.RawText(`{"q":1}`), QoS: 1, Retain: true}))
		require.NoError(w, b.Publish(glass.Publication{Topic: t1, Payload: wire.RawText(`{"mine":1}`)}))
		w.Pass(time.Second)
		require.Equal(w, 5, count(r.frames(1), wire.TypePublish))
		w.Pass(5 * time.Second)
		require.Equal(w, 6, count(r.frames(1), wire.TypePublish))
		w.Pass(5 * time.Second)
		require.Equal(w, 7, count(r.frames(1), wire.TypePublish))
		w.Pass(time.Minute)
		require.Equal(w, 7, count(r.frames(1), wire.TypePublish), "then it gives up")
		require.NoError(w, b.Subscribe(u1))
		require.NoError(w, b.Unsubscribe(u1))
		b.Advertise(realm + ".add")
		w.Pass(time.Second)

		connect := all["n01-connect"].of(w, "b", "send", "CONNECT")[0]
		require.Equal(w, shape(w, connect).fields["node_id"], shape(w, said(0, wire.TypeConnect, 0)).fields["node_id"])
		requireSame(w, all["n02-pubsub"].of(w, "b", "send", "SUBSCRIBE")[0], said(0, wire.TypeSubscribe, 0))
		requireSame(w, all["n02-pubsub"].of(w, "c", "send", "PUBLISH")[0], said(1, wire.TypePublish, 0))
		requireSame(w, all["n03-pubsub-public"].of(w, "c", "send", "PUBLISH")[0], said(1, wire.TypePublish, 1))
		for i, f := range all["n05-pubsub-qos1"].of(w, "c", "send", "PUBLISH") {
			requireSame(w, f, said(1, wire.TypePublish, 4+i))
		}
		requireSame(w, all["n06-pubsub-own"].of(w, "b", "send", "PUBLISH")[0], said(0, wire.TypePublish, 0))
		requireSame(w, all["n07-pubsub-unsubscribe"].of(w, "b", "send", "UNSUBSCRIBE")[0], said(0, wire.TypeUnsubscribe, 0))

		// Records go out on connections of their own, but for those of services.
		require.Len(w, r.conns(), 3)
		requireSame(w, store(w, all["n02-pubsub"].of(w, "b", "send", "STORE")[0], own), store(w, said(2, wire.TypeStore, 0), own))
		requireSame(w, store(w, all["n11-rpc-call"].of(w, "b", "send", "STORE")[0], own), store(w, said(0, wire.TypeStore, 0), own))
		value, _ := wire.Raw(said(2, wire.TypeStore, 0).Payload).Field("value")
		endpoint, _ := value.Field("endpoint")
		require.Equal(w, wire.RawText(r.endpoint), endpoint, "the URL of the gateway, not its own")
		require.Empty(w, g.Broken())
	})
}

// store is a STORE whose value says "x" where it is another each time.
func store(tb testing.TB, f framing.Frame, names []string) framing.Frame {
	tb.Helper()
	m, err := f.Decode()
	require.NoError(tb, err)
	var pairs []wire.Pair
	for key, value := range m.(*wire.Store).Value.Fields() {
		name, _ := key.Bytes()
		for _, n := range names {
			if n == string(name) {
				require.Equal(tb, wire.Bin, value.Kind())
				value = wire.RawText("x")
			}
		}
		pairs = append(pairs, wire.Pair{Key: string(name), Value: value})
	}
	return framing.Frame{Type: f.Type, Payload: mapping("type", "store", "key", m.(*wire.Store).Key, "value", wire.RawMap(pairs...))}
}
