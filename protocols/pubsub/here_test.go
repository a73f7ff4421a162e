package pubsub_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

func TestErlangClientsAtOneNode(t *testing.T) {
	n := startNode(t)
	b, c := newErlang(t, n, id32("b")), newErlang(t, n, id32("c"))
	b.subscribe("t.one", "w.*", "w.**", "t.*")
	c.publish("t.one", `{"n":1}`, 1)
	m := b.published()
	require.Equal(t, &wire.Publish{Topic: "t.one", Payload: wire.RawText(`{"n":1}`), MessageID: counter(1)}, m)
	b.quiet()

	b.publish("w.a", "own", 1) // its own comes back
	require.Equal(t, "w.a", b.published().Topic)
	c.publish("w", "none", 2)
	require.Equal(t, "w", b.published().Topic)
	c.publish("w.a.b", "more", 1) // the same id once more
	require.Equal(t, "w.a.b", b.published().Topic)
	c.publish("x.a", "nobody", 4)
	c.settled()
	b.send(&wire.Unsubscribe{Topics: []string{"t.one"}}, &wire.Unsubscribe{Topics: []string{"never"}})
	b.settled()
	c.publish("t.one", "by the pattern", 5)
	require.Equal(t, "t.one", b.published().Topic)
	b.send(&wire.Unsubscribe{Topics: []string{"t.*"}})
	b.settled()
	c.publish("t.one", "no more", 6)
	c.settled()
	b.quiet()
	stats := n.Topics().Stats()
	require.Equal(t, uint64(7), stats.Published)
	require.Equal(t, uint64(5), stats.Delivered)

	b.conn.CloseWithError(0, "")
	require.Eventually(t, func() bool { return n.Topics().Stats().Subscriptions == 0 }, patience, tick, "they end with the connection")
}

// A node that subscribes on several streams, or has several connections, gets one copy:
// on the newest stream that has subscribed.
func TestOneCopyANode(t *testing.T) {
	n := startNode(t)
	old, c := newErlang(t, n, id32("b")), newErlang(t, n, id32("c"))
	old.subscribe("t", "**")
	newer := newErlang(t, n, id32("b"))
	newer.subscribe("*")
	c.publish("t", "p", 1)
	require.Equal(t, "t", newer.published().Topic)
	newer.quiet()
	old.quiet()
	c.publish("t.t", "p", 2)
	require.Equal(t, "t.t", old.published().Topic)
	newer.quiet()
	newer.conn.CloseWithError(0, "")
	require.Eventually(t, func() bool { return n.Topics().Stats().Subscriptions == 2 }, patience, tick)
	c.publish("t", "p", 3)
	require.Equal(t, counter(3), old.published().MessageID)
}

// Nothing reaches an Erlang client that would crash it.
func TestWhatIsIncomplete(t *testing.T) {
	n := startNode(t)
	b, c := newErlang(t, n, id32("b")), newErlang(t, n, id32("c"))
	b.subscribe("**")
	field := func(name string, v wire.Raw) wire.Pair { return wire.Pair{Key: name, Value: v} }
	publish := func(pairs ...wire.Pair) *wire.Opaque {
		return &wire.Opaque{MessageType: wire.TypePublish, Fields: wire.RawMap(pairs...)}
	}
	str := func(s string) wire.Raw { return append(wire.Raw{0xa0 | byte(len(s))}, s...) }
	topic, payload := field("topic", wire.RawText("t")), field("payload", wire.RawText("p"))
	for name, m := range map[string]wire.Message{
		"no payload":      publish(topic),
		"no topic":        publish(payload),
		"a numeric topic": publish(field("topic", wire.RawInt(1)), payload),
		"an empty topic":  publish(field("topic", wire.RawText("")), payload),
	} {
		before := n.Topics().Stats().Incomplete
		c.send(m)
		c.settled()
		require.Equal(t, before+1, n.Topics().Stats().Incomplete, name)
	}
	b.quiet()
	for name, m := range map[string]wire.Message{
		"without the rest": publish(topic, payload),
		"a str as topic":   publish(field("topic", str("t")), payload, field("qos", wire.RawInt(0)), field("retain", wire.Raw{0xc2}), field("message_id", wire.RawText("i"))),
		"a text as qos":    publish(topic, payload, field("qos", wire.RawText("0")), field("retain", wire.Raw{0xc2}), field("message_id", wire.RawText("i"))),
		"one more field":   publish(topic, payload, field("qos", wire.RawInt(0)), field("retain", wire.Raw{0xc2}), field("message_id", wire.RawText("i")), field("x", wire.RawInt(1))),
		"a field twice":    publish(topic, payload, field("qos", wire.RawInt(0)), field("retain", wire.Raw{0xc2}), field("topic", wire.RawText("t"))),
	} {
		t.Run(name, func(t *testing.T) {
			c.send(m)
			f := b.next()
			require.Equal(t, wire.TypePublish, f.Type)
			fields := map[string]wire.Kind{}
			for key, value := range wire.Raw(f.Payload).Fields() {
				text, _ := key.Bytes()
				require.Equal(t, wire.Bin, key.Kind())
				fields[string(text)] = value.Kind()
			}
			require.Equal(t, map[string]wire.Kind{"topic": wire.Bin, "payload": wire.Bin, "qos": wire.Int, "retain": wire.Bool, "message_id": wire.Bin}, fields)
		})
	}
}

// Before its CONNECT a client neither subscribes nor publishes to others than those here.
func TestBeforeTheConnect(t *testing.T) {
	n := startNode(t)
	s, err := n.Topics().Subscribe(t.Context(), "**")
	require.NoError(t, err)
	stranger := dialErlang(t, n.Endpoint())
	stranger.subscribe("**")
	require.Equal(t, uint64(1), n.Topics().Stats().Unmet)
	stranger.publish("t", "p", 1)
	stranger.quiet()
	require.Equal(t, "t", next(t, s).Topic)
	require.Zero(t, n.Topics().Stats().Published, "it is as what a gateway sends")
}

func TestPrograms(t *testing.T) {
	n := startNode(t)
	topics := n.Topics()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := topics.Subscribe(ctx, "a.*")
	require.NoError(t, err)
	require.Equal(t, "a.*", s.Pattern())
	e := newErlang(t, n, id32("e"))
	e.subscribe("a.b")
	require.NoError(t, topics.Publish(t.Context(), "a.b", []byte("one")))
	require.NoError(t, topics.PublishValue(t.Context(), "a.b", wire.RawMap(wire.Pair{Key: "n", Value: wire.RawInt(2)})))
	require.NoError(t, topics.Publish(t.Context(), "b", []byte("nobody")))
	require.Equal(t, "one", string(next(t, s).Payload()))
	m := next(t, s)
	require.Nil(t, m.Payload())
	require.Equal(t, wire.Map, m.Value.Kind())
	require.Equal(t, wire.RawText("one"), e.published().Payload)
	require.Equal(t, m.Value, e.published().Payload)
	e.publish("a.b", "three", 1)
	for m := range s.Messages() {
		require.Equal(t, pubsub.Message{Topic: "a.b", Value: wire.RawText("three")}, m)
		break
	}
	require.Equal(t, wire.RawText("three"), e.published().Payload)
	cancel()
	_, err = s.Next(t.Context())
	require.ErrorIs(t, err, proto.ErrClosed)
	for range s.Messages() {
		require.Fail(t, "it has ended")
	}

	for name, err := range map[string]error{
		"no topic":         topics.Publish(t.Context(), "", nil),
		"a long topic":     topics.Publish(t.Context(), string(make([]byte, 256)), nil),
		"a long message":   topics.Publish(t.Context(), "t", make([]byte, wire.MaxPayload)),
		"no value":         topics.PublishValue(t.Context(), "t", nil),
		"a broken value":   topics.PublishValue(t.Context(), "t", wire.Raw{0x81}),
		"an ext type":      topics.PublishValue(t.Context(), "t", wire.Raw{0xd4, 1, 1}),
		"a pattern of 0":   func() error { _, err := topics.Subscribe(t.Context(), ""); return err }(),
		"a pattern of 256": func() error { _, err := topics.Subscribe(t.Context(), string(make([]byte, 256))); return err }(),
	} {
		require.ErrorIs(t, err, proto.ErrInvalidRequest, name)
	}
	_, err = pubsub.New(n.Service())
	require.ErrorIs(t, err, server.ErrHandled)
	require.NoError(t, topics.Close())
	require.ErrorIs(t, topics.Publish(t.Context(), "t", nil), proto.ErrClosed)
	_, err = topics.Subscribe(t.Context(), "t")
	require.ErrorIs(t, err, proto.ErrClosed)
	e.publish("a.b", "nobody", 2)
	e.quiet()
}
