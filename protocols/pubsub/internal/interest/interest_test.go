package interest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/interest"
)

// network is a Service whose lookups take a second.
type network struct {
	routing *routing.Server
	found   []lookup.FoundValue // by each

	mu     sync.Mutex
	looked []string // keys
	tasks  sync.WaitGroup
	closed bool
}

const took = time.Second

func (n *network) Routing() *routing.Server { return n.routing }

func (n *network) FindPeerValues(_ context.Context, key []byte) (*lookup.Found, error) {
	n.mu.Lock()
	n.looked = append(n.looked, string(key))
	n.mu.Unlock()
	time.Sleep(took)
	if len(n.found) > 0 {
		return &lookup.Found{Values: n.found}, nil
	}
	return &lookup.Found{}, maculadht.ErrNotFound
}

func (n *network) spawn(f func(context.Context)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Go(func() { f(context.Background()) })
	}
	return !n.closed
}

// lookups returns how often a name was looked up.
func (n *network) lookups(name string) (times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, key := range n.looked {
		if key == string(provider.Key(name)) {
			times++
		}
	}
	return times
}

// waiter notes what it is told.
type waiter struct {
	mu      sync.Mutex
	known   int
	gaveWay []fair.Payer
}

func (w *waiter) Known() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known++
}

func (w *waiter) GaveWay(by fair.Payer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gaveWay = append(w.gaveWay, by)
}

func (w *waiter) told() (known int, gaveWay []fair.Payer) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known, slices.Clone(w.gaveWay)
}

func of(source string) fair.Payer {
	return fair.Payer{Source: budget.Source{Name: source, Group: source}}
}

// look plays with interests, one lookup at a time, in virtual time.
func look(t *testing.T, play func(t *testing.T, n *network, all *interest.Interests)) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
		require.NoError(t, err)
		defer srv.Close()
		n := &network{routing: srv}
		defer n.tasks.Wait()
		defer func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.closed = true
		}()
		play(t, n, interest.New(interest.Config{Service: n, Spawn: n.spawn, Names: 1 << 16, Lookups: 1, LookupsRate: 1000}))
	})
}

// Who wants what somebody else wants does not wait for that one's turn, and is not told of
// what that one has lost.
func TestEachHasItsTurn(t *testing.T) {
	look(t, func(t *testing.T, n *network, all *interest.Interests) {
		flood := func(from, to int) {
			for i := range to - from {
				all.Of(fmt.Sprint("flood ", from+i)).Want(time.Now(), of("flood"))
			}
		}
		flood(0, 1000)
		var w waiter
		common := all.Of("common")
		require.True(t, common.Await(&w))
		common.Want(time.Now(), of("flood"))
		common.Want(time.Now(), of("flood"))
		known, gaveWay := w.told()
		require.Zero(t, known)
		require.Empty(t, gaveWay)
		flood(1000, 1025)
		for i := range 50 {
			all.Of(fmt.Sprint("others' ", i)).Want(time.Now(), of(fmt.Sprint(i)))
		}
		known, gaveWay = w.told()
		require.Zero(t, known, "it is no answer for others")
		require.Equal(t, []fair.Payer{of("flood")}, gaveWay)
		common.Want(time.Now(), of("honest"))
		time.Sleep(60 * took)
		known, gaveWay = w.told()
		require.Equal(t, 1, known, "in turn")
		require.Len(t, gaveWay, 1)
		require.False(t, common.Await(&w))
		require.Equal(t, 1, n.lookups("common"))
	})
}

// What is known is fresh for a while.
func TestFresh(t *testing.T) {
	look(t, func(t *testing.T, n *network, all *interest.Interests) {
		i := all.Of("name")
		for _, test := range []struct {
			after   time.Duration
			lookups int
		}{{0, 1}, {took / 2, 1}, {took, 1}, {4 * time.Second, 1}, {2 * time.Second, 2}} {
			time.Sleep(test.after)
			i.Want(time.Now(), of("a"))
			synctest.Wait()
			require.Equal(t, test.lookups, n.lookups("name"), test)
		}
		require.Empty(t, i.Nodes(time.Now()))
		require.Same(t, i, all.Of("name"))
	})
}
