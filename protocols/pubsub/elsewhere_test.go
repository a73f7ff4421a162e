package pubsub_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// found waits until a node knows that so many nodes beside it have subscribed under a
// name, as a publisher there would look it up.
func found(tb testing.TB, n *node.Node, name string, others int) {
	tb.Helper()
	require.Eventually(tb, func() bool {
		all, _ := n.Service().Routing().Records().Values(tb.Context(), maculadht.TopicKey(name))
		self := n.ID()
		count := 0
		for _, r := range all {
			if string(r.NodeID) != string(self[:]) {
				count++
			}
		}
		return count >= others
	}, patience, tick, "%s has subscribers", name)
}

// Erlang clients and programs at two nodes, and a program on a bare host: whatever is
// published anywhere is delivered everywhere that it fits, exactly once, in the order of
// each publisher.
func TestAnywhereToEverywhere(t *testing.T) {
	a := startNode(t)
	b := startNode(t, a)
	bare := startBare(t, a)
	const messages = 100
	topic, pattern := realm+".fleet.truck", realm+".*.truck"

	apps := map[string]*pubsub.Subscription{}
	for name, topics := range map[string]*pubsub.Topics{"app at a": a.Topics(), "app at b": b.Topics(), "bare app": bare} {
		for _, p := range []string{topic, pattern} {
			s, err := topics.Subscribe(t.Context(), p)
			require.NoError(t, err)
			apps[name+" of "+p] = s
		}
	}
	clients := map[string]*erlang{"client at a": newErlang(t, a, id32("ca")), "client at b": newErlang(t, b, id32("cb"))}
	clients["client at a"].subscribe(topic)
	clients["client at b"].subscribe(pattern)
	for _, n := range []*node.Node{a, b} {
		found(t, n, topic, 2)
		found(t, n, realm+".**", 2)
	}

	publishers := []string{"p0", "p1", "p2", "p3", "p4"}
	var all sync.WaitGroup
	publishes := func(who string, publish func(payload string, n int)) {
		all.Go(func() {
			for n := range messages {
				publish(fmt.Sprintf("%s/%d", who, n), n)
			}
		})
	}
	ea, eb := newErlang(t, a, id32("pa")), newErlang(t, b, id32("pb"))
	publishes("p0", func(p string, n int) { ea.publish(topic, p, n) })
	publishes("p1", func(p string, n int) { eb.publish(topic, p, n) })
	for i, topics := range []*pubsub.Topics{a.Topics(), b.Topics(), bare} {
		publishes(publishers[2+i], func(p string, _ int) {
			if err := topics.Publish(t.Context(), topic, []byte(p)); err != nil {
				t.Error(err)
			}
		})
	}
	check := func(name string, next func() string) {
		all.Go(func() {
			got := map[string]int{}
			for range messages * len(publishers) {
				text := next()
				var n int
				who := text[:2]
				if _, err := fmt.Sscanf(text[3:], "%d", &n); err != nil || n != got[who] {
					t.Errorf("%s: %q after %d of its publisher", name, text, got[who])
					return
				}
				got[who]++
			}
		})
	}
	for name, s := range apps {
		check(name, func() string {
			m, err := s.Next(patient(t))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return "p0/-1"
			}
			return string(m.Payload())
		})
	}
	for name, c := range clients {
		check(name, func() string {
			c.stream.SetReadDeadline(time.Now().Add(patience))
			f, err := c.in.Next()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return "p0/-1"
			}
			v, _ := wire.Raw(f.Payload).Field("payload")
			text, _ := v.Bytes()
			return string(text)
		})
	}
	all.Wait()
	for _, s := range apps {
		require.Zero(t, s.Dropped())
		nothing(t, s)
	}
	for _, c := range clients {
		c.quiet()
	}
}

// What was published before it is known who has subscribed elsewhere waits for that.
func TestFirstMessageArrives(t *testing.T) {
	a := startNode(t)
	b := startNode(t, a)
	s, err := b.Topics().Subscribe(t.Context(), "x.y")
	require.NoError(t, err)
	select {
	case <-s.Announced():
	case <-time.After(patience):
		require.Fail(t, "not announced")
	}
	newcomer := startNode(t, b) // which has nothing stored, and has to look
	for i := range 10 {
		require.NoError(t, newcomer.Topics().Publish(t.Context(), "x.y", []byte{byte(i)}))
	}
	for i := range 10 {
		require.Equal(t, []byte{byte(i)}, next(t, s).Payload())
	}
	// It is withdrawn with the last that has subscribed.
	s.Close()
	require.Eventually(t, func() bool {
		_, err := a.Service().Routing().Records().Values(t.Context(), maculadht.TopicKey("x.y"))
		return err != nil
	}, patience, tick)
}

// Who has not CONNECTed over libp2p has nothing taken of him, and what is for others is
// never passed on.
func TestRoutesThatAreNotTaken(t *testing.T) {
	n := startNode(t)
	s, err := n.Topics().Subscribe(t.Context(), "**")
	require.NoError(t, err)
	self := n.ID()
	route := func(change func(*wire.PubSubRoute)) *wire.PubSubRoute {
		m := &wire.PubSubRoute{Route: wire.Route{Destination: self[:], Source: []byte(id32("g")), MaxHops: 10,
			Payload: (&wire.Publish{Topic: "t", Payload: wire.RawText("p"), MessageID: counter(1)}).AppendPayload(nil)}, Topic: "t"}
		change(m)
		return m
	}
	e := dialErlang(t, n.Endpoint())
	for name, m := range map[string]*wire.PubSubRoute{
		"of another":      route(func(m *wire.PubSubRoute) { m.Destination = []byte(id32("other")) }),
		"of many hops":    route(func(m *wire.PubSubRoute) { m.HopCount = 10 }),
		"of large limits": route(func(m *wire.PubSubRoute) { m.HopCount, m.MaxHops = 11, 100 }),
		"of negative":     route(func(m *wire.PubSubRoute) { m.HopCount = -1 }),
	} {
		before := n.Topics().Stats().Misrouted
		e.send(m)
		e.settled()
		require.Equal(t, before+1, n.Topics().Stats().Misrouted, name)
	}
	e.send(route(func(m *wire.PubSubRoute) { m.Topic = "another" }))
	e.settled()
	require.Equal(t, uint64(1), n.Topics().Stats().Incomplete)
	nothing(t, s)
	e.send(route(func(*wire.PubSubRoute) {})) // an Erlang gateway, which does not CONNECT
	require.Equal(t, "t", next(t, s).Topic)

	stranger := newStranger(t, n)
	stranger.send(route(func(*wire.PubSubRoute) {}), &wire.Publish{Topic: "t", Payload: wire.RawText("p")}, &wire.Subscribe{Topics: []string{"t"}})
	stranger.settled()
	require.Equal(t, uint64(3), n.Topics().Stats().Unmet)
	nothing(t, s)
}
