package watch_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// keepAt stores a value at one node alone.
func keepAt(t *testing.T, n *node.Node, key []byte, raw wire.Raw) {
	t.Helper()
	v, err := values.Parse(raw)
	require.NoError(t, err)
	require.NoError(t, n.Service().Routing().Records().Store(t.Context(), records.Put{Key: key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
}

func startGlass(t *testing.T) *glass.Gateway {
	t.Helper()
	g, err := glass.Start(glass.Realm(proto.DefaultRealm), glass.RegisterAfter(0))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.Empty(t, g.Broken())
		g.Close()
	})
	return g
}

// An Erlang node that asks its gateway for what another node holds sees within two seconds
// that it has changed, and was withdrawn, though what it was answered is remembered for
// longer.
func TestErlangAskersSeeChanges(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	key := maculadht.ServiceKey("asked for")
	keepAt(t, nodes[0], key, valueOf(nodes[0], "first", 300))
	vm := startGlass(t)
	find := func(word string) func() bool {
		return func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			found, err := vm.FindValue(ctx, nodes[1].Endpoint(), key)
			if err != nil || len(found) != 1 {
				return false
			}
			w, _ := found[0].Field("word")
			text, _ := w.Bytes()
			return string(text) == word
		}
	}
	require.Eventually(t, find("first"), patience, 20*time.Millisecond)
	for _, word := range []string{"second", "third"} {
		keepAt(t, nodes[0], key, valueOf(nodes[0], word, 300))
		require.Eventually(t, find(word), 2*time.Second, 20*time.Millisecond)
	}
}

// What Erlang nodes alone hold is seen too: those that have it are asked all the time, the
// others when it is the turn of a key.
func TestWatchAtErlangNodes(t *testing.T) {
	t.Parallel()
	g, other := startGlass(t), startGlass(t)
	n := startNode(t, g.Endpoint(), other.Endpoint())
	require.Eventually(t, func() bool { return len(n.Uplinks().Sessions()) == 2 }, patience, tick)
	key := maculadht.ServiceKey("Erlang's")
	id := wire.RawText("a provider, of thirty-two bytes.")
	value := func(word string) wire.Raw {
		return wire.RawMap(wire.Pair{Key: "node_id", Value: id}, wire.Pair{Key: "word", Value: wire.RawText(word)}, wire.Pair{Key: "ttl", Value: wire.RawInt(300)})
	}
	g.Store(key, value("first"))
	l := watch.DefaultLimits()
	l.PollEvery, l.Apart, l.ErlangEvery = 50*time.Millisecond, 10*time.Millisecond, 100*time.Millisecond
	before := other.Stats().Frames[wire.TypeFindValue]
	w := watchAt(t, n, key, watch.WithLimits(l))
	w.comes(watch.Came, "first")
	for _, word := range []string{"second", "third"} {
		g.Store(key, value(word))
		w.comes(watch.Changed, word)
	}
	require.LessOrEqual(t, other.Stats().Frames[wire.TypeFindValue]-before, 1, "who has nothing is asked once a minute")
}
