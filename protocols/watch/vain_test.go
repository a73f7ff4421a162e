package watch_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// changes has a node say without end that a key has changed, of which nothing has: it
// stores the same record again and again. What is returned counts it, and stops it.
func changes(t *testing.T, n *node.Node, key []byte, value wire.Raw) (told *atomic.Int64, stop func()) {
	told = new(atomic.Int64)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for again := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-again.C:
				keepAt(t, n, key, value)
				told.Add(1)
			case <-end:
				again.Stop()
				return
			}
		}
	}()
	return told, func() { close(end); <-ended }
}

// Who tells without end of changes that are none has the key looked up no more often than it
// would be without him; what others tell is seen as soon as ever.
func TestWhoTellsInVain(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	key := maculadht.ServiceKey("held by a liar")
	same := valueOf(nodes[0], "same", 300)
	keepAt(t, nodes[0], key, same)
	keepAt(t, nodes[1], key, same)
	l := watch.DefaultLimits()
	l.PollEvery, l.TrustEvery, l.Apart = time.Hour, time.Hour, 10*time.Millisecond
	w := watchAt(t, nodes[1], key, watch.WithLimits(l))
	w.comes(watch.Came, "same")
	next := make(chan watch.Event, 1)
	go func() { // as it looks while it is read
		e, _, _ := w.next()
		next <- e
	}()
	told, stop := changes(t, nodes[0], key, same)
	stopped := false
	defer func() {
		if !stopped {
			stop()
		}
	}()
	lookups := func() uint64 { return nodes[2].Service().Handlers().Mux().Stats().Frames }
	require.Eventually(t, func() bool {
		frames, before := lookups(), told.Load()
		time.Sleep(200 * time.Millisecond)
		return told.Load() > before && lookups()-frames <= 2
	}, patience, tick, "it is not heard any more")

	keepAt(t, nodes[2], key, valueOf(nodes[2], "new", 300))
	select {
	case e := <-next:
		require.Equal(t, watch.Came, e.Kind)
	case <-time.After(patience):
		t.Fatal("a change that another tells of is not seen")
	}
	stop()
	stopped = true
}
