package interop

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// topicScene is what was traced inside of real nodes while they had topics.
type topicScene struct {
	Scenario string
	Events   []topicEvent
}

// topicEvent is a frame that a node sent or received.
type topicEvent struct{ Node, Dir, Stream, Type, Hex string }

func topicScenes(t *testing.T, file string) map[string]topicScene {
	t.Helper()
	text, err := os.ReadFile("glass/testdata/" + file)
	require.NoError(t, err)
	var recorded struct{ Scenes []topicScene }
	require.NoError(t, json.Unmarshal(text, &recorded))
	all := make(map[string]topicScene)
	for _, s := range recorded.Scenes {
		all[s.Scenario] = s
	}
	return all
}

// fieldsOf returns what a frame says, field by field, with what is another value each time
// taken out.
func fieldsOf(t *testing.T, payload wire.Raw, but ...string) map[string]string {
	t.Helper()
	said := make(map[string]string)
	for key, value := range payload.Fields() {
		name, _ := key.Bytes()
		said[string(name)] = value.Kind().String() + " " + hex.EncodeToString(value)
	}
	for _, name := range but {
		require.Contains(t, said, name)
		said[name] = ""
	}
	return said
}

// ownID reports whether a PUBLISH has an id that its gateway made up, not the counter of a
// client.
func ownID(payload wire.Raw) bool {
	id, _ := payload.Field("message_id")
	b, _ := id.Bytes()
	return len(b) != 16 || b[0] != 0
}

// TestTopicScenes has the recorded clients talk to a node of ours in the place of their
// gateway: what a client is sent is field by field what the real gateway sent it, but for
// the second copy that a subscriber of a public topic got there (docs/INTEROP.md).
func TestTopicScenes(t *testing.T) {
	t.Parallel()
	one, three := topicScenes(t, "live-one-gateway.json"), topicScenes(t, "live-three-gateways.json")
	t.Run("one gateway", func(t *testing.T) {
		p := newTopicPlayers(t, "a")
		for _, name := range []string{"n02-pubsub", "n03-pubsub-public", "n04-pubsub-wildcards", "n05-pubsub-qos1", "n06-pubsub-own", "n07-pubsub-unsubscribe"} {
			require.True(t, t.Run(name, func(t *testing.T) { p.play(t, one[name]) }))
		}
		require.Equal(t, 1, p.secondCopies, "of n03")
	})
	t.Run("client of b", func(t *testing.T) {
		p := newTopicPlayers(t, "b")
		for _, name := range []string{"m04-client-of-b", "m05-map-payload"} {
			require.True(t, t.Run(name, func(t *testing.T) { p.play(t, three[name]) }))
		}
		require.Zero(t, p.secondCopies)
	})
	t.Run("local subscriber at a", func(t *testing.T) {
		p := newTopicPlayers(t, "a")
		s, err := p.node.Topics().Subscribe(t.Context(), testRealm+".public.x1")
		require.NoError(t, err)
		p.play(t, three["m01-route-b-to-a"])
		m, err := s.Next(within(t))
		require.NoError(t, err)
		require.Equal(t, wire.RawMap(wire.Pair{Key: "n", Value: wire.RawInt(1)}), m.Value)
	})
}

// topicPlayers are the recorded clients of a node, one connection for each stream of
// theirs.
type topicPlayers struct {
	t            *testing.T
	role         string
	node         *node.Node
	talks        map[string]*talk
	secondCopies int
}

func newTopicPlayers(t *testing.T, role string) *topicPlayers {
	t.Helper()
	return &topicPlayers{t: t, role: role, node: startNode(t), talks: make(map[string]*talk)}
}

// talk returns the stream of a recorded one. Who says anything but STORE, or routes, has
// CONNECTed before the trace began.
func (p *topicPlayers) talk(t *testing.T, e topicEvent) *talk {
	k := p.talks[e.Stream]
	if k == nil {
		k = talkRaw(p.t, dialRaw(p.t, udpOf(p.t, p.node.Endpoint())))
		p.talks[e.Stream] = k
		if e.Type != "STORE" && e.Type != "PUBSUB_ROUTE" && e.Type != "CONNECT" {
			k.ask(tConnect, doc{"version": bin("1.0"), "node_id": bin("the client of the stream " + e.Stream + "........"), "realm_id": bin(testRealm),
				"endpoint": bin(""), "capabilities": []any{bin("pubsub"), bin("rpc")}})
		}
	}
	return k
}

func (p *topicPlayers) play(t *testing.T, s topicScene) {
	require.NotEmpty(t, s.Events)
	self := p.node.ID()
	for _, e := range s.Events {
		if e.Node != p.role || e.Type == "CONNECT" || e.Type == "PONG" || e.Dir == "send" && e.Type != "PUBLISH" {
			continue
		}
		b, err := hex.DecodeString(e.Hex)
		require.NoError(t, err)
		k := p.talk(t, e)
		if e.Dir == "recv" {
			// The recorded gateways' own ids are those of ours.
			for _, id := range []string{"fa0d9937b4ca1731928163661031782389cb46ad374970c2e3be501ac23d0db8", "c74147086c4761be99adbd37cd80ba1505e27e786682de46cea13a17e13d4071"} {
				recorded, err := hex.DecodeString(id)
				require.NoError(t, err)
				if e.Type == "PUBSUB_ROUTE" && bytes.Contains(b, append([]byte("destination_node_id\xc4\x20"), recorded...)) {
					b = bytes.Replace(b, append([]byte("destination_node_id\xc4\x20"), recorded...), append([]byte("destination_node_id\xc4\x20"), self[:]...), 1)
				}
			}
			before := p.node.Service().Handlers().Mux().Stats().Frames
			k.send(b)
			require.Eventually(t, func() bool { return p.node.Service().Handlers().Mux().Stats().Frames > before }, patience, time.Millisecond)
			continue
		}
		want, _, err := framing.DecodeFrame(b)
		require.NoError(t, err)
		own := ownID(want.Payload)
		if own && p.role == "a" { // found by its record, it has had its copy
			p.secondCopies++
			continue
		}
		got := nextFrame(t, k)
		require.Equal(t, want.Type, got.Type)
		var but []string
		if own {
			but = []string{"message_id"}
		}
		require.Equal(t, fieldsOf(t, want.Payload, but...), fieldsOf(t, got.Payload, but...))
	}
	for stream, k := range p.talks { // and nothing but that
		require.NoError(t, k.SetDeadline(time.Now().Add(20*time.Millisecond)))
		_, err := k.next()
		require.Error(t, err, "stream %s", stream)
		require.NoError(t, k.SetDeadline(time.Now().Add(patience)))
	}
}

// nextFrame reads a frame as it came.
func nextFrame(t *testing.T, k *talk) framing.Frame {
	t.Helper()
	head := make([]byte, framing.HeaderSize)
	require.NoError(t, k.SetDeadline(time.Now().Add(patience)))
	read := func(b []byte) {
		for n := 0; n < len(b); {
			m, err := k.Read(b[n:])
			require.NoError(t, err)
			n += m
		}
	}
	read(head)
	size := int(head[4])<<24 | int(head[5])<<16 | int(head[6])<<8 | int(head[7])
	whole := append(head, make([]byte, size)...)
	read(whole[framing.HeaderSize:])
	f, _, err := framing.DecodeFrame(whole)
	require.NoError(t, err)
	return f
}

// An Erlang gateway and one of ours publish to each other: by what they have stored, once
// each, a public topic and no other from ours to theirs.
func TestTopicsWithAnErlangGateway(t *testing.T) {
	t.Parallel()
	three := topicScenes(t, "live-three-gateways.json")
	g := startGlass(t)
	n := startNode(t, g.Endpoint())
	require.Eventually(t, func() bool { return len(n.Uplinks().Sessions()) == 1 }, 2*patience, tick, "a session")

	const public, other = testRealm + ".public.x2", testRealm + ".x3"
	g.Subscribe(public)
	g.Subscribe(other)
	for _, topic := range []string{public, other} {
		require.Eventually(t, func() bool {
			values, _ := n.Service().Routing().Records().Values(t.Context(), maculadht.TopicKey(topic))
			return len(values) > 0
		}, patience, tick, "it has told")
	}
	value := wire.RawMap(wire.Pair{Key: "n", Value: wire.RawInt(2)})
	require.NoError(t, n.Topics().PublishValue(t.Context(), other, value))
	for range 3 {
		require.NoError(t, n.Topics().PublishValue(t.Context(), public, value))
	}
	require.Eventually(t, func() bool { return len(g.Got()) == 3 }, patience, tick, "it came")
	for _, p := range g.Got() {
		require.Equal(t, glass.Publication{Topic: public, Payload: value}, p)
	}
	sent := routeOf(t, g)
	for _, e := range three["m02-route-a-to-b"].Events {
		if e.Node == "a" && e.Type == "PUBSUB_ROUTE" {
			b, err := hex.DecodeString(e.Hex)
			require.NoError(t, err)
			want, _, err := framing.DecodeFrame(b)
			require.NoError(t, err)
			ids := []string{"destination_node_id", "source_node_id", "payload"}
			require.Equal(t, fieldsOf(t, want.Payload, ids...), fieldsOf(t, sent, ids...))
			wantIn, _ := wire.Raw(want.Payload).Field("payload")
			gotIn, _ := sent.Field("payload")
			require.Equal(t, fieldsOf(t, wantIn, "message_id"), fieldsOf(t, gotIn, "message_id"))
			to, _ := sent.Field("destination_node_id")
			require.Equal(t, wire.RawBytes(g.NodeID()), to)
		}
	}

	s, err := n.Topics().Subscribe(t.Context(), testRealm+".public.y")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(g.Stored(maculadht.TopicKey(testRealm+".public.y"))) > 0 }, patience, tick, "it knows of ours")
	g.Publish(glass.Publication{Topic: testRealm + ".public.y", Payload: value})
	m, err := s.Next(within(t))
	require.NoError(t, err)
	require.Equal(t, value, m.Value)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "once")
	require.Empty(t, g.Broken())
	require.Empty(t, g.Lapses())
}

// routeOf returns the last PUBSUB_ROUTE that came to a gateway.
func routeOf(t *testing.T, g *glass.Gateway) (payload wire.Raw) {
	t.Helper()
	for _, m := range g.Notices() {
		if r, ok := m.(*wire.PubSubRoute); ok {
			payload = r.AppendPayload(nil)
		}
	}
	require.NotEmpty(t, payload)
	return payload
}

// A node that is killed and started again has forgotten who has subscribed. A client that
// connects again and only renews its record, as Erlang clients do, gets what is published
// all the same, wherever that is.
func TestClientsRenewAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startProcessOf(t, dir, 0, "--realm", testRealm, "--log-level", "error")
	port := first.udp(t).Port
	entry := first.Addrs[0]
	other := startNode(t, entry)
	require.Eventually(t, func() bool { return len(other.Service().Routing().Contacts()) == 1 }, patience, tick)
	g := startGlass(t)
	const topic = testRealm + ".t1"
	id := []byte(strings.Repeat("c", 32))
	s, err := g.Connect(within(t), first.Endpoints[0], id)
	require.NoError(t, err)
	require.NoError(t, s.Say(&wire.Subscribe{Topics: []string{topic}}))
	received := func(s *glass.Session, payload string) {
		t.Helper()
		require.Eventually(t, func() bool {
			require.NoError(t, other.Topics().Publish(t.Context(), topic, []byte(payload)))
			for _, m := range s.Messages() {
				if p, ok := m.(*wire.Publish); ok && string(p.Payload) == string(wire.RawText(payload)) {
					return true
				}
			}
			return false
		}, 2*patience, 50*time.Millisecond, payload)
	}
	received(s, "before")
	s.Close()
	first.kill()

	again := startProcessOf(t, dir, port, "--realm", testRealm, "--log-level", "error")
	require.Equal(t, entry, again.Addrs[0])
	s, err = g.Connect(within(t), again.Endpoints[0], id)
	require.NoError(t, err)
	require.NoError(t, s.Say(&wire.Store{Key: maculadht.TopicKey(topic), Value: wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(id)},
		wire.Pair{Key: "endpoint", Value: wire.RawText(again.Endpoints[0])},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)})}))
	received(s, "after")
	s.Close()
}
