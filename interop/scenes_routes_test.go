package interop

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// endpointB is where the recorded gateway b listened.
const endpointB = "https://127.0.0.1:9702"

// routesFromA has the program in the place of gateway a, and a double in that of b, which
// has bootstrapped from it.
type routesFromA struct {
	*players
	b     *glass.Gateway
	lasts int64 // of publishLast
}

func newRoutesFromA(t *testing.T) *routesFromA {
	t.Helper()
	r := &routesFromA{players: newPlayers(t, "a"), b: startGlass(t)}
	_, err := r.b.Bootstrap(within(t), r.gateway.Endpoints[0])
	require.NoError(t, err)
	r.connect(t, "publisher", "a client of a, of thirty-two byt")
	const topic = testRealm + ".public.begin"
	r.b.Subscribe(topic)
	n := int64(0)
	require.Eventually(t, func() bool { // until b is a contact, and its record is known
		n++
		r.publish(t, topic, wire.RawInt(n))
		return len(r.routes()) > 0
	}, patience, tick)
	r.publishLast(t, topic)
	return r
}

// publish publishes any value, as the clients of connect_local do.
func (r *routesFromA) publish(t *testing.T, topic string, value wire.Raw) {
	t.Helper()
	k := r.streams["publisher"]
	k.send(frame(tPublish, doc{"topic": bin(topic), "payload": raw(value), "qos": 0, "retain": false, "message_id": bin("0123456789abcdef")}))
	k.settle(t)
}

// publishLast publishes under a topic of b's until that has come: what was published before,
// under topics whose subscribers are known, then has too.
func (r *routesFromA) publishLast(t *testing.T, topic string) {
	t.Helper()
	r.lasts--
	last := wire.RawInt(r.lasts)
	r.publish(t, topic, last)
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(r.routes(), func(route wire.Raw) bool { return bytes.Equal(payloadOf(route, "payload"), last) })
	}, patience, tick)
}

// payloadOf returns a field of what a PUBSUB_ROUTE carries.
func payloadOf(route wire.Raw, field string) wire.Raw {
	payload, _ := route.Field("payload")
	v, _ := payload.Field(field)
	return v
}

// routes returns the PUBSUB_ROUTEs that came to b.
func (r *routesFromA) routes() (all []wire.Raw) {
	for _, m := range r.b.Notices() {
		if route, is := m.(*wire.PubSubRoute); is {
			all = append(all, route.AppendPayload(nil))
		}
	}
	return all
}

// asB returns a recorded frame to a with the ids and the endpoint of our b.
func (r *routesFromA) asB(t *testing.T, e traced) []byte {
	t.Helper()
	payload := e.bytes(t)[framing.HeaderSize:]
	payload = bytes.ReplaceAll(payload, unhex(t, gatewayB), r.b.NodeID())
	payload = bytes.ReplaceAll(payload, wire.RawText(endpointB), wire.RawText(r.b.Endpoint()))
	return frame(tStore, raw(payload))
}

// Of m02 to m04 what gateway a is sent, and sends to b, a gateway that listens: its records
// come as recorded, and one PUBSUB_ROUTE for each message leaves, field by field as recorded,
// where the topic is public, and none else.
func TestScenesOfRoutesToAGateway(t *testing.T) {
	t.Parallel()
	three := scenes(t, "live-three-gateways.json")
	r := newRoutesFromA(t)
	routesOf := func(topic string) []wire.Raw {
		return slices.DeleteFunc(r.routes(), func(route wire.Raw) bool {
			return !bytes.Equal(payloadOf(route, "topic"), wire.RawText(topic))
		})
	}
	for name, test := range map[string]struct {
		topic  string
		value  wire.Raw // that is published at a
		routes int
	}{
		"m02-route-a-to-b":     {testRealm + ".public.x2", wire.RawMap(wire.Pair{Key: "n", Value: wire.RawInt(2)}), 1},
		"m03-route-not-public": {testRealm + ".x3", wire.RawMap(wire.Pair{Key: "n", Value: wire.RawInt(3)}), 0},
		"m04-client-of-b":      {testRealm + ".public.x4", wire.RawText(`{"n":4}`), 1}, // one a gateway, not one a record
	} {
		t.Run(name, func(t *testing.T) {
			stored := 0
			var want []traced
			for _, e := range three[name].Events {
				switch {
				case e.Node != "a" || e.Type == "PUBLISH":
				case e.Dir == "recv":
					require.Equal(t, "STORE", e.Type)
					k := &player{talk: talkRaw(t, dialRaw(t, r.gateway.udp(t)))}
					k.send(r.asB(t, e))
					k.settle(t)
					stored++
				case bytes.Contains(e.bytes(t), unhex(t, gatewayB)):
					require.Equal(t, "PUBSUB_ROUTE", e.Type)
					want = append(want, e)
				}
			}
			require.NotZero(t, stored)
			require.Len(t, want, test.routes)
			r.publish(t, test.topic, test.value)
			require.Eventually(t, func() bool { // the first of a topic waits until it is known who has subscribed
				return len(routesOf(test.topic)) >= test.routes
			}, patience, tick)
			r.publishLast(t, testRealm+".public.begin")
			sent := routesOf(test.topic)
			require.Len(t, sent, test.routes)
			for i, e := range want {
				recorded := wire.Raw(e.frame(t).Payload)
				ids := []string{"destination_node_id", "source_node_id", "payload"}
				require.Equal(t, fieldsOf(t, recorded, ids...), fieldsOf(t, sent[i], ids...))
				in, _ := recorded.Field("payload")
				out, _ := sent[i].Field("payload")
				require.Equal(t, fieldsOf(t, in, "message_id"), fieldsOf(t, out, "message_id"))
				to, _ := sent[i].Field("destination_node_id")
				require.Equal(t, wire.RawBytes(r.b.NodeID()), to)
				from, _ := sent[i].Field("source_node_id")
				require.Equal(t, wire.RawBytes(r.self), from)
				id, _ := out.Field("message_id")
				made, _ := id.Bytes()
				require.Len(t, made, 16)
			}
		})
	}
	require.Empty(t, routesOf(testRealm+".x3"), "of what is not public, by now either")
	require.Empty(t, r.b.Broken())
	require.Empty(t, r.b.Lapses())

	// Its own subscription a stores at b, as recorded of m01.
	const topic = testRealm + ".public.x1"
	r.streams["publisher"].send(frame(tSubscribe, doc{"topics": []any{bin(topic)}, "qos": 0}))
	key := maculadht.TopicKey(topic)
	require.Eventually(t, func() bool { return len(r.b.Stored(key)) > 0 }, patience, tick)
	for _, e := range three["m01-route-b-to-a"].Events {
		if e.Node != "a" || e.Type != "STORE" || e.Dir != "send" {
			continue
		}
		recorded := wire.Raw(e.frame(t).Payload)
		at, _ := recorded.Field("key")
		require.Equal(t, wire.RawBytes(key), at)
		value, _ := recorded.Field("value")
		require.Equal(t, fieldsOf(t, value, "node_id", "endpoint"), fieldsOf(t, r.b.Stored(key)[0], "node_id", "endpoint"))
		id, _ := r.b.Stored(key)[0].Field("node_id")
		require.Equal(t, wire.RawBytes(r.self), id)
		endpoint, _ := r.b.Stored(key)[0].Field("endpoint")
		require.Equal(t, wire.RawText(r.gateway.Endpoints[0]), endpoint)
	}
}
