package glass_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// mesh is a double in the place of one of the recorded gateways, and a recorder
// in that of the one from which it bootstrapped.
type mesh struct {
	*world
	scenes map[string]scene
	other  *recorder
	g      *glass.Gateway
}

// inMesh starts a double of an id that knows one of another id.
func inMesh(t *testing.T, id, other string, test func(m mesh)) {
	all := scenes(t, "live-three-gateways.json")
	inWorld(t, func(w *world) {
		r := w.record(func(f framing.Frame) []byte {
			if f.Type == wire.TypeFindValue {
				return encode(w, &wire.FindValueReply{})
			}
			return nil
		})
		g := w.start(glass.NodeID(unhex(w, id)), glass.BootstrappedFrom(r.endpoint, unhex(w, other)))
		test(mesh{w, all, r, g})
		require.Empty(w, g.Broken())
	})
}

// came returns the frames of a type that the recorder got.
func (m mesh) came(t wire.Type) (frames []framing.Frame) {
	m.Pass(time.Second)
	for _, conn := range m.other.conns() {
		for _, f := range conn {
			if f.Type == t {
				frames = append(frames, f)
			}
		}
	}
	return frames
}

// subscribed stores a record under a topic whose endpoint is the recorder's.
func (m mesh) subscribed(topic, id string) {
	m.g.Store(hashed(topic), mapping("node_id", unhex(m, id), "endpoint", m.other.endpoint, "ttl", 300))
}

// receive has a frame come in on a connection of its own.
func (m mesh) receive(f framing.Frame) {
	m.Helper()
	m.dial(m.g).open().send(made(f.Type, f.Payload))
	m.Pass(time.Second)
}

// m01, m02: a subscription of a gateway itself is stored at those it knows in its
// own name, and what another publishes of a public topic is routed to it.
func TestRouteBetweenGateways(t *testing.T) {
	for name, test := range map[string]struct {
		scene, subscriber, from, to, publisher string
		n                                      int
	}{
		"m01": {"m01-route-b-to-a", "a", idB, idA, "b", 1},
		"m02": {"m02-route-a-to-b", "b", idA, idB, "a", 2},
	} {
		t.Run(name, func(t *testing.T) {
			topic := realm + ".public.x" + name[2:]
			t.Run("subscriber", func(t *testing.T) {
				inMesh(t, test.to, test.from, func(m mesh) {
					m.g.Subscribe(topic)
					want := m.scenes[test.scene].of(m, test.subscriber, "send", "STORE")[0]
					stored := m.came(wire.TypeStore)
					require.Len(m, stored, 1)
					requireSame(m, store(m, want, []string{"endpoint"}), store(m, stored[0], []string{"endpoint"}))
					m.receive(m.scenes[test.scene].of(m, test.subscriber, "recv", "PUBSUB_ROUTE")[0])
					require.Equal(m, []glass.Publication{{Topic: topic, Payload: mapping("n", test.n)}}, m.g.Got())
				})
			})
			t.Run("publisher", func(t *testing.T) {
				inMesh(t, test.from, test.to, func(m mesh) {
					m.subscribed(topic, test.to)
					m.g.Publish(glass.Publication{Topic: topic, Payload: mapping("n", test.n)})
					routed := m.came(wire.TypePubSubRoute)
					require.Len(m, routed, 1)
					requireSame(m, m.scenes[test.scene].of(m, test.publisher, "send", "PUBSUB_ROUTE")[0], routed[0], "message_id")
				})
			})
		})
	}
}

// m03: what is not public goes to nobody whom the DHT knows.
func TestRouteOfWhatIsNotPublic(t *testing.T) {
	inMesh(t, idA, idB, func(m mesh) {
		m.subscribed(realm+".x3", idB)
		m.g.Publish(glass.Publication{Topic: realm + ".x3", Payload: mapping("n", 3)})
		require.Empty(m, m.came(wire.TypePubSubRoute))
		require.Equal(m, 1, m.g.Stats().Denied)
	})
}

// m04, m05: a client of a publishes, JSON text or not, and a client of b gets it:
// from b, for which a's route is, and not by that for the client itself.
func TestRouteToClient(t *testing.T) {
	const clientOfB = "a82b14a8eaf6f5a5ccec1b58c004549064875b242e3fee833c57bd7da6f8392c"
	topic := realm + ".public.x4"
	for _, name := range []string{"m04-client-of-b", "m05-map-payload"} {
		t.Run(name, func(t *testing.T) {
			t.Run("a", func(t *testing.T) {
				inMesh(t, idA, idB, func(m mesh) {
					m.subscribed(topic, idB)
					m.subscribed(topic, clientOfB) // the newest is in front
					sc := m.scenes[name]
					if name == "m04-client-of-b" {
						m.receive(sc.of(m, "a", "recv", "PUBLISH")[0])
					} else {
						m.g.Publish(glass.Publication{Topic: topic, Payload: mapping("n", 5)})
					}
					routed := m.came(wire.TypePubSubRoute)
					want := sc.of(m, "a", "send", "PUBSUB_ROUTE")
					require.Len(m, routed, 2)
					var got, wanted []string
					for i := range want {
						got = append(got, sorted(m, blank(routed[i], "message_id")))
						wanted = append(wanted, sorted(m, blank(want[i], "message_id")))
					}
					require.ElementsMatch(m, wanted, got)
				})
			})
			t.Run("b", func(t *testing.T) {
				inMesh(t, idB, idA, func(m mesh) {
					sc := m.scenes[name]
					k := m.dial(m.g).open()
					k.send(made(wire.TypeSubscribe, mapping("topics", wire.RawArray(wire.RawText(topic)), "qos", 0)))
					m.Pass(time.Second)
					for _, f := range sc.of(m, "b", "recv", "PUBSUB_ROUTE") {
						m.receive(f)
					}
					got, err := k.next()
					require.NoError(m, err)
					requireSame(m, sc.of(m, "b", "send", "PUBLISH")[0], got, "message_id")
					requireNothing(m, k) // the other route is lost
					m.came(wire.TypePubSubRoute)
				})
			})
		})
	}
}

// m06: what is for others is not delivered, nor what has no hops left.
func TestRouteForOthers(t *testing.T) {
	inMesh(t, idA, idB, func(m mesh) {
		m.g.Subscribe(realm + ".public.x1")
		for _, f := range m.scenes["m06-route-others"].of(m, "a", "recv", "PUBSUB_ROUTE") {
			m.receive(f)
		}
		require.Empty(m, m.g.Got())
		require.Equal(m, 1, m.g.Stats().Unrouted, "the one without hops")
		require.Len(m, m.came(wire.TypePubSubRoute), 1, "the other goes to the nearest that has an address of host and port")
	})
	inWorld(t, func(w *world) { // one that is known by its CONNECT has an URL
		g := w.start()
		w.dial(g).ask(connecting("node"))
		w.dial(g).open().send(made(wire.TypePubSubRoute, scenes(w, "live-three-gateways.json")["m06-route-others"].of(w, "a", "recv", "PUBSUB_ROUTE")[0].Payload))
		w.Pass(time.Second)
		require.Equal(w, 1, g.Stats().Unrouted)
		require.Empty(w, g.Broken())
	})
}

// m07, m08: a call by RPC_ROUTE of a procedure of the gateway itself: unauthorized
// or, if it only says by whom it is, executed. The reply goes to the nearest node
// on a connection of its own. A handler that does as its type demands kills it.
func TestRouteOfCalls(t *testing.T) {
	inMesh(t, idB, idA, func(m mesh) {
		sc := m.scenes["m07-rpc-route-call"]
		m.g.Offer(realm+".locb", func(args []byte) glass.Outcome {
			return glass.Outcome{Result: []byte(`{"loc":` + string(args) + `}`)}
		})
		calls, replies := sc.of(m, "b", "recv", "RPC_ROUTE"), sc.of(m, "b", "send", "RPC_ROUTE")
		require.Len(m, replies, 2)
		for i, f := range calls {
			m.receive(f)
			got := m.came(wire.TypeRPCRoute)
			require.Len(m, got, i+1)
			requireSame(m, replies[i], got[i])
		}
	})
	inWorld(t, func(w *world) {
		g := w.start(glass.NodeID(unhex(w, idB)))
		g.Offer(realm+".okb", func([]byte) glass.Outcome { return glass.Outcome{Result: []byte("{}"), OKTuple: true} })
		f := scenes(w, "live-three-gateways.json")["m08-rpc-route-ok-tuple"].of(w, "b", "recv", "RPC_ROUTE")[0]
		w.dial(g).open().send(made(f.Type, f.Payload))
		w.Pass(time.Second)
		require.Equal(w, []glass.Break{{Kind: glass.GatewayCrash, Why: glass.CauseOKTuple, Detail: realm + ".okb"}}, g.Broken())
	})
}
