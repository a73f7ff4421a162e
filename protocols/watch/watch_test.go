package watch_test

import (
	"context"
	"crypto/rand"
	"flag"
	"iter"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

const (
	patience = 15 * time.Second
	tick     = 5 * time.Millisecond
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m)
}

func startNode(tb testing.TB, bootstrap ...string) *node.Node {
	tb.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(tb, err)
	n, err := node.New(node.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Bootstrap: bootstrap})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, n.Close()) })
	return n
}

// startNodes starts some that know each other.
func startNodes(tb testing.TB, n int) []*node.Node {
	tb.Helper()
	all := []*node.Node{startNode(tb)}
	for range n - 1 {
		all = append(all, startNode(tb, all[0].Addrs()[0].String()))
	}
	for _, a := range all {
		require.Eventually(tb, func() bool { return len(a.Service().Routing().Contacts()) == n-1 }, patience, tick)
	}
	return all
}

// watching reads a watch.
type watching struct {
	tb   testing.TB
	next func() (watch.Event, error, bool)
}

func watchAt(tb testing.TB, at *node.Node, key []byte, opts ...watch.Option) *watching {
	tb.Helper()
	w, err := watch.New(at.Service(), at.Topics(), opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, w.Close()) })
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	next, stop := iter.Pull2(w.Watch(ctx, key))
	tb.Cleanup(func() { cancel(); stop() })
	return &watching{tb, next}
}

func (w *watching) comes(kind watch.Kind, value string) {
	w.tb.Helper()
	e, err, ok := w.next()
	require.True(w.tb, ok)
	require.NoError(w.tb, err)
	require.Equal(w.tb, kind, e.Kind)
	text, err := e.Value.Raw.MarshalJSON()
	require.NoError(w.tb, err)
	require.Contains(w.tb, string(text), value)
}

// valueOf is a record of a node with a word in it.
func valueOf(n *node.Node, word string, ttl int64) wire.Raw {
	id := n.ID()
	return wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(id[:])}, wire.Pair{Key: "word", Value: wire.RawText(word)}, wire.Pair{Key: "ttl", Value: wire.RawInt(ttl)})
}

// What happens to the records of a key is told as it happens, by those who hold them, long
// before it would be looked for.
func TestWatch(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	key := maculadht.ServiceKey("watched")
	first, err := nodes[0].Service().Advertise(t.Context(), key, valueOf(nodes[0], "first", 300))
	require.NoError(t, err)
	<-first.Published()
	l := watch.DefaultLimits()
	l.PollEvery, l.TrustEvery, l.Apart = time.Hour, time.Hour, 20*time.Millisecond
	w := watchAt(t, nodes[1], key, watch.WithLimits(l))
	w.comes(watch.Came, "first")

	_, err = nodes[2].Service().Store(t.Context(), key, valueOf(nodes[2], "second", 300))
	require.NoError(t, err)
	w.comes(watch.Came, "second")
	_, err = nodes[2].Service().Store(t.Context(), key, valueOf(nodes[2], "changed", 301))
	require.NoError(t, err)
	w.comes(watch.Changed, "changed")
	require.NoError(t, first.Withdraw())
	w.comes(watch.Withdrawn, "first")

	_, err = nodes[1].Service().Store(t.Context(), key, valueOf(nodes[1], "short", 1))
	require.NoError(t, err)
	w.comes(watch.Came, "short")
	w.comes(watch.Expired, "short")
}

// Where nobody tells it is looked all the time.
func TestWatchPolls(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	key := maculadht.ServiceKey("polled")
	l := watch.DefaultLimits()
	l.PollEvery, l.Apart = 50*time.Millisecond, 10*time.Millisecond
	require.NoError(t, nodes[0].Topics().Close()) // it takes no subscriptions
	nodes[0].Service().Routing().Records().SetOnChange(nil)
	w := watchAt(t, nodes[1], key, watch.WithLimits(l))
	go func() {
		_, _ = nodes[0].Service().Store(context.Background(), key, valueOf(nodes[0], "polled", 300))
	}()
	w.comes(watch.Came, "polled")
}

// A holder that ends is replaced, and what it held beside others has not gone.
func TestWatchOutlivesHolders(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 4)
	key := maculadht.ServiceKey("held")
	_, err := nodes[0].Service().Store(t.Context(), key, valueOf(nodes[0], "first", 300))
	require.NoError(t, err)
	l := watch.DefaultLimits()
	l.Holders, l.Apart = 1, 20*time.Millisecond
	w := watchAt(t, nodes[1], key, watch.WithLimits(l))
	w.comes(watch.Came, "first")
	require.NoError(t, nodes[3].Close())
	_, err = nodes[2].Service().Store(t.Context(), key, valueOf(nodes[2], "second", 300))
	require.NoError(t, err)
	w.comes(watch.Came, "second")
}

func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	l := watch.DefaultLimits()
	l.Watches = 1
	w, err := watch.New(n.Service(), n.Topics(), watch.WithLimits(l))
	require.NoError(t, err)
	why := func(ctx context.Context, key []byte) (err error) {
		for _, e := range w.Watch(ctx, key) {
			err = e
		}
		return err
	}
	require.ErrorIs(t, why(t.Context(), nil), maculadht.ErrInvalidRequest)
	require.ErrorIs(t, why(t.Context(), make([]byte, 256)), maculadht.ErrInvalidRequest)
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		close(begun)
		ended <- why(t.Context(), []byte("k"))
	}()
	<-begun
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		return why(ctx, []byte("k")) == watch.ErrTooMany
	}, patience, tick)
	require.NoError(t, w.Close())
	require.ErrorIs(t, <-ended, maculadht.ErrClosed)
	require.ErrorIs(t, why(t.Context(), []byte("k")), maculadht.ErrClosed)
	for _, opt := range []watch.Option{nil, watch.WithLimits(watch.Limits{})} {
		_, err := watch.New(n.Service(), n.Topics(), opt)
		require.Error(t, err)
	}
	require.Equal(t, pubsub.KeyTopic([]byte("k")), pubsub.KeyTopic([]byte("k")))
}
