package pubsub_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

func newHost(t *testing.T, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append(opts, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// limited runs topics with limits, which know others; met is a libp2p peer that has
// CONNECTed there.
func limited(t *testing.T, change func(*pubsub.Limits), others ...*node.Node) (topics *pubsub.Topics, met func() *erlang) {
	t.Helper()
	h := newHost(t, libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
	s, err := maculadht.New(h, maculadht.WithRealm(realm), maculadht.WithMode(maculadht.ModeServer))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	limits := pubsub.DefaultLimits()
	change(&limits)
	topics, err = pubsub.New(s, pubsub.WithLimits(limits))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, topics.Close()) })
	for _, o := range others {
		info, err := node.ParsePeer(o.Addrs()[0].String())
		require.NoError(t, err)
		require.NoError(t, s.Join(t.Context(), *info))
		require.Eventually(t, func() bool {
			_, known := o.Service().Routing().Contact(s.Routing().Self())
			return known && len(s.Routing().Contacts()) > 0
		}, patience, tick, "they know each other")
	}
	return topics, func() *erlang {
		client := newHost(t, libp2p.NoListenAddrs)
		require.NoError(t, client.Connect(patient(t), peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}))
		stream, err := client.NewStream(patient(t), h.ID(), proto.ProtocolID)
		require.NoError(t, err)
		e := &erlang{t, nil, stream, framing.NewReader(stream)}
		id := sha256.Sum256([]byte(client.ID()))
		e.connect(string(id[:]))
		return e
	}
}

// Who has most subscriptions loses the newest for others', and may subscribe again when
// there is room.
func TestSubscriptionsAreShared(t *testing.T) {
	topics, met := limited(t, func(l *pubsub.Limits) { l.Subscriptions = 5 })
	flood, honest := met(), met()
	for i := range 7 {
		flood.subscribe(fmt.Sprint("flood.", i))
	}
	require.Equal(t, uint64(2), topics.Stats().Refused)
	honest.subscribe("honest")
	require.Equal(t, 5, topics.Stats().Subscriptions)
	require.Equal(t, uint64(3), topics.Stats().Refused)
	publish := func(topic string, to ...*erlang) {
		t.Helper()
		require.NoError(t, topics.Publish(t.Context(), topic, []byte("1")))
		for _, e := range to {
			require.Equal(t, topic, e.published().Topic)
		}
		flood.quiet()
	}
	publish("honest", honest)
	publish("flood.3", flood)
	publish("flood.4")
	flood.subscribe("flood.4")
	require.Equal(t, uint64(4), topics.Stats().Refused, "it has most still")
	honest.send(&wire.Unsubscribe{Topics: []string{"honest"}})
	honest.settled()
	flood.subscribe("flood.4")
	publish("flood.4", flood)

	var own []*pubsub.Subscription
	for i := range 5 {
		s, err := topics.Subscribe(t.Context(), fmt.Sprint("own.", i))
		require.NoError(t, err)
		own = append(own, s)
	}
	_, err := topics.Subscribe(t.Context(), "own.more")
	require.ErrorIs(t, err, pubsub.ErrTooMany)
	own[0].Close()
	_, err = topics.Subscribe(t.Context(), "own.more")
	require.NoError(t, err)
	require.Equal(t, 10, topics.Stats().Subscriptions, "those of the program are its own matter")
}

// Whose lookups are too many has its messages go to who is known, which is counted; those of
// others wait for lookups of their own, be it of the same topics.
func TestLookupsAreShared(t *testing.T) {
	other := startNode(t)
	s, err := other.Topics().Subscribe(t.Context(), "common")
	require.NoError(t, err)
	topics, met := limited(t, func(l *pubsub.Limits) { l.Lookups, l.LookupsRate = 1, 5 }, other)
	honest := met()
	for i := range 400 {
		require.NoError(t, topics.Publish(t.Context(), fmt.Sprintf("flood.%d.a.b", i), []byte("1")))
	}
	require.NoError(t, topics.Publish(t.Context(), "common", []byte("flood")))
	require.Eventually(t, func() bool { return topics.Stats().Unasked > 0 }, patience, tick)
	honest.publish("common", "honest", 1)
	for string(next(t, s).Payload()) != "honest" { // the flood's may have had a place that was free again
	}
}
