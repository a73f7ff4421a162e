package interop

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

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
	first.Kill()

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
