package pubsub_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// A thousand subscribers on two hundred patterns, streams of clients and of programs:
// each gets what fits, and nothing else.
func TestManySubscribers(t *testing.T) {
	n := startNode(t)
	const patterns, subscribers, clients = 200, 1000, 100
	e := newErlang(t, n, id32("connection"))
	var streams []*erlang
	for i := range clients {
		c := openErlang(t, e.conn)
		c.connect(fmt.Sprintf("%032d", i))
		c.subscribe(fmt.Sprintf("%s.*.sensor%d.**", realm, i%patterns))
		streams = append(streams, c)
	}
	var apps []*pubsub.Subscription
	for i := clients; i < subscribers; i++ {
		s, err := n.Topics().Subscribe(t.Context(), fmt.Sprintf("%s.*.sensor%d.**", realm, i%patterns))
		require.NoError(t, err)
		apps = append(apps, s)
	}
	require.Equal(t, subscribers, n.Topics().Stats().Subscriptions)
	p := newErlang(t, n, id32("publisher"))
	for i := range patterns {
		p.publish(fmt.Sprintf("%s.hall.sensor%d.temp", realm, i), fmt.Sprint(i), i)
	}
	p.settled()
	for i, c := range streams {
		require.Equal(t, wire.RawText(fmt.Sprint(i%patterns)), c.published().Payload)
		c.quiet()
	}
	for i, s := range apps {
		require.Equal(t, fmt.Sprint((clients+i)%patterns), string(next(t, s).Payload()))
	}
	require.Equal(t, uint64(subscribers), n.Topics().Stats().Delivered, "each one, once")
	require.Equal(t, 1, n.Topics().Stats().Names, "all are found under one name")
}

// A subscriber that stops reading loses the oldest, which is counted, and nobody else
// notices.
func TestSubscriberThatStopsReading(t *testing.T) {
	n := startNode(t)
	slow, quick, p := newErlang(t, n, id32("slow")), newErlang(t, n, id32("quick")), newErlang(t, n, id32("p"))
	slow.subscribe("t")
	quick.subscribe("t")
	app, err := n.Topics().Subscribe(t.Context(), "t")
	require.NoError(t, err)
	const messages = 1500
	payload := strings.Repeat("x", 2000)
	for i := range messages {
		p.publish("t", payload, i)
		require.Equal(t, counter(i), quick.published().MessageID)
	}
	require.Positive(t, n.Service().Handlers().Mux().Stats().PushesDropped)
	require.Equal(t, uint64(messages-pubsub.DefaultLimits().Queue), app.Dropped())
	for range pubsub.DefaultLimits().Queue {
		next(t, app)
	}
	got, last := 0, []byte(nil)
	for string(last) != string(counter(messages-1)) {
		last = slow.published().MessageID
		got++
	}
	require.Less(t, got, messages, "the newest is there, and some are not")
	slow.settled()
}

// busyFloor is allowed whatever the ratio: the flood itself takes the processors too.
const busyFloor = time.Second

// Floods of subscriptions and publications stay within what their sender may use: what is
// held is bounded, and others are served meanwhile.
func TestFloods(t *testing.T) {
	limits := maculadht.DefaultLimits()
	limits.Accounts.Source.Memory = 4 << 20
	n := startNodeOf(t, node.Config{Limits: &limits})
	honest, err := n.Topics().Subscribe(t.Context(), "honest")
	require.NoError(t, err)
	e := newErlang(t, n, id32("flood"))
	go func() { _, _ = io.Copy(io.Discard, e.stream) }()
	var b []byte
	for i := range 3000 {
		b, err = framing.AppendFrame(b, &wire.Subscribe{Topics: []string{fmt.Sprintf("**.a%d.*.%s", i, strings.Repeat("b.", 40))}})
		require.NoError(t, err)
		b, err = framing.AppendFrame(b, &wire.Publish{Topic: fmt.Sprintf("t%d.%d", i, i), Payload: wire.RawBytes(make([]byte, 500)), MessageID: counter(i)})
		require.NoError(t, err)
	}
	p99 := func() time.Duration {
		var took []time.Duration
		for range 200 {
			begun := time.Now()
			require.NoError(t, n.Topics().Publish(t.Context(), "honest", []byte("p")))
			next(t, honest)
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	calm := p99()
	var flood sync.WaitGroup
	flood.Go(func() { e.write(b) })
	flooded := p99()
	flood.Wait()
	t.Logf("p99 of others: %v, %v beside the flood", calm, flooded)
	require.LessOrEqual(t, flooded, max(3*calm, busyFloor))
	require.Eventually(t, func() bool { s := n.Topics().Stats(); return s.Published+s.Busy >= 3000 }, patience, tick)
	s := n.Topics().Stats()
	require.Positive(t, s.Refused)
	require.LessOrEqual(t, s.Subscriptions, pubsub.DefaultLimits().SubscriptionsPerPeer+1)
	require.LessOrEqual(t, s.Names, pubsub.DefaultLimits().NamesPerSource+1)
	require.LessOrEqual(t, s.Topics, pubsub.DefaultLimits().Topics)
	e.conn.CloseWithError(0, "")
	require.Eventually(t, func() bool { return n.Topics().Stats().Subscriptions == 1 }, patience, tick)
}

// FuzzFrames has a node take any frames of topics, and go on.
func FuzzFrames(f *testing.F) {
	seed := func(messages ...wire.Message) {
		var b []byte
		for _, m := range messages {
			b, _ = framing.AppendFrame(b, m)
		}
		f.Add(b)
	}
	id := []byte(id32("x"))
	whole := (&wire.Publish{Topic: "t", Payload: wire.RawText("p"), MessageID: counter(1)}).AppendPayload(nil)
	seed(&wire.Subscribe{Topics: []string{"**", "a.*", ""}}, &wire.Publish{Topic: "a.b", Payload: wire.RawMap(), MessageID: counter(1)}, &wire.Unsubscribe{Topics: []string{"**"}})
	seed(&wire.PubSubRoute{Route: wire.Route{Destination: id, Source: id, MaxHops: 10, Payload: whole}, Topic: "t"})
	seed(&wire.Opaque{MessageType: wire.TypePublish}, &wire.Opaque{MessageType: wire.TypeSubscribe}, &wire.Opaque{MessageType: wire.TypePubSubRoute})
	seed(&wire.Publish{Topic: "t", Payload: wire.Raw{0xd4, 1, 1}}, &wire.Publish{Topic: "t", Payload: wire.Raw{0xa1, 0xff}})
	n := startNode(f)
	reader := newErlang(f, n, id32("reader"))
	reader.subscribe("**")
	e := newErlang(f, n, id32("fuzzer"))
	f.Fuzz(func(t *testing.T, b []byte) {
		reader.tb, e.tb = t, t
		for len(b) >= framing.HeaderSize {
			frame, rest, err := framing.DecodeFrame(b)
			if err != nil {
				return
			}
			b = rest
			switch frame.Type {
			case wire.TypePublish, wire.TypeSubscribe, wire.TypeUnsubscribe, wire.TypePubSubRoute:
				whole, err := framing.AppendFrame(nil, &wire.Opaque{MessageType: frame.Type, Fields: frame.Payload})
				require.NoError(t, err)
				e.write(whole)
			}
		}
		mark := fmt.Sprint(time.Now().UnixNano())
		e.publish("mark", mark, 1)
		for {
			f := reader.next()
			if f.Type != wire.TypePublish {
				continue
			}
			m, err := f.Decode()
			require.NoError(t, err, "what is delivered is well-formed")
			if string(m.(*wire.Publish).Payload) == string(wire.RawText(mark)) {
				return
			}
		}
	})
}
