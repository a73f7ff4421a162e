package node

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/limits"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// The limits of a configuration are those that the parts keep to.
func TestPartsKeepToTheirLimits(t *testing.T) {
	l := limits.Defaults()
	l.Topics.Subscriptions, l.Watches.Watches = 1, 1
	l.Calls.Time, l.Dialer.DialTimeout = 50*time.Millisecond, 50*time.Millisecond
	n, err := New(Config{Key: newKey(t), Listen: []string{onLoopback4}, Parts: &l})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	s, err := n.Topics().Subscribe(ctx, "a")
	require.NoError(t, err)
	defer s.Close()
	_, err = n.Topics().Subscribe(ctx, "b")
	require.ErrorIs(t, err, pubsub.ErrTooMany)

	first := make(chan struct{})
	ended := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	stored, err := wire.Marshal(map[string]any{"node_id": make([]byte, 32), "ttl": 60})
	require.NoError(t, err)
	_, err = n.Service().Store(ctx, []byte("k"), stored)
	require.ErrorContains(t, err, "no other node has the value", "but this one has")
	go func() {
		defer close(ended)
		for range n.Watch(watching, []byte("k")) {
			select {
			case <-first:
			default:
				close(first)
			}
		}
	}()
	<-first
	for _, err := range n.Watch(ctx, []byte("l")) {
		require.ErrorIs(t, err, watch.ErrTooMany)
		break
	}
	stop()
	<-ended

	p, err := n.Calls().Serve(ctx, "slow", func(ctx context.Context, _ *rpc.Request) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	require.NoError(t, err)
	defer p.Withdraw()
	_, err = n.Calls().Call(context.WithoutCancel(ctx), "slow", nil)
	require.ErrorIs(t, err, rpc.ErrTimeout)

	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	began := time.Now()
	_, err = client.Ping(ctx, n.Dialer(), routing.Contact{Endpoint: "https://" + silent.LocalAddr().String()})
	require.Error(t, err)
	require.Less(t, time.Since(began), limits.Defaults().Dialer.DialTimeout/2)
}

// Limits that contradict one another are refused, each by its part.
func TestWrongLimits(t *testing.T) {
	l := limits.Defaults()
	l.Topics.Names, l.Client.Streams = 0, 0
	err := Config{Key: newKey(t), Parts: &l, ConnsLow: 2, ConnsHigh: 1}.Check()
	for _, want := range []string{"limits: Names is 0", "0 streams", "connections: 2 to 1"} {
		require.ErrorContains(t, err, want)
	}
}
