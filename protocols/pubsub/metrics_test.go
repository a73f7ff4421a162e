package pubsub_test

import (
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// told counts what a tracer is told.
type told struct{ published, received, delivered, sent, slow, others atomic.Int64 }

func (c *told) Published(fromElsewhere bool) {
	if fromElsewhere {
		c.received.Add(1)
	} else {
		c.published.Add(1)
	}
}
func (c *told) Delivered(copies int) { c.delivered.Add(int64(copies)) }
func (c *told) Sent()                { c.sent.Add(1) }
func (c *told) Dropped(why pubsub.DropReason, n int) {
	if why == pubsub.DropSlow {
		c.slow.Add(int64(n))
	} else {
		c.others.Add(int64(n))
	}
}

func TestMetricsTracer(t *testing.T) {
	n := startNode(t)
	var told told
	l := pubsub.DefaultLimits()
	l.Queue = 2
	bare := startBare(t, n, pubsub.WithMetricsTracer(&told), pubsub.WithLimits(l))
	there, err := n.Topics().Subscribe(t.Context(), "t")
	require.NoError(t, err)
	s, err := bare.Subscribe(t.Context(), "t")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		all, _ := n.Service().Routing().Records().Values(t.Context(), maculadht.TopicKey("t"))
		return len(all) == 2
	}, patience, tick, "both are told of")
	for range 3 {
		require.NoError(t, bare.Publish(t.Context(), "t", []byte("p")))
		next(t, there) // so that none waits to be sent
	}
	require.Eventually(t, func() bool { return told.sent.Load() == 3 }, patience, tick)
	require.Equal(t, int64(3), told.published.Load())
	require.Equal(t, int64(3), told.delivered.Load())
	require.Equal(t, int64(1), told.slow.Load())
	require.Equal(t, uint64(1), s.Dropped())
	require.Eventually(t, func() bool {
		require.NoError(t, n.Topics().Publish(t.Context(), "t", []byte("p")))
		return told.received.Load() > 0
	}, patience, tick)
	require.Zero(t, told.others.Load())

	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	defer h.Close()
	service, err := maculadht.New(h)
	require.NoError(t, err)
	defer service.Close()
	_, err = pubsub.New(service, pubsub.WithMetricsTracer(nil))
	require.ErrorContains(t, err, "metrics tracer is nil")
}
