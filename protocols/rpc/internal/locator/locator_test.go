package locator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/locator"
)

// network is a Service whose lookups take a second.
type network struct {
	routing *routing.Server
	err     error // of what is not found

	mu     sync.Mutex
	looked []string
	tasks  sync.WaitGroup
	closed bool
}

const took = time.Second

func (n *network) Routing() *routing.Server { return n.routing }

func (n *network) FindProviders(ctx context.Context, name string) ([]maculadht.Provider, error) {
	n.mu.Lock()
	n.looked = append(n.looked, name)
	n.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
	}
	if n.err != nil {
		return nil, n.err
	}
	return []maculadht.Provider{{Endpoint: name}}, nil
}

func (n *network) spawn(f func(context.Context)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Go(func() { f(context.Background()) })
	}
	return !n.closed
}

func (n *network) lookups() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.looked)
}

// locate plays with a locator, one lookup at a time and so many that wait, in virtual time.
func locate(t *testing.T, waiting int, play func(t *testing.T, n *network, l *locator.Locator)) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
		require.NoError(t, err)
		defer srv.Close()
		n := &network{routing: srv}
		defer n.tasks.Wait()
		play(t, n, locator.New(locator.Config{Service: n, Spawn: n.spawn, Time: 5 * time.Second, AtOnce: 1, Waiting: waiting}))
	})
}

func of(source string) fair.Payer {
	return fair.Payer{Source: budget.Source{Name: source, Group: source}}
}

// find asks in the background, and tells with which error it ended.
func find(ctx context.Context, l *locator.Locator, procedure, by string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		found, err := l.Find(ctx, procedure, of(by))
		if err == nil && (len(found) != 1 || found[0].Endpoint != procedure) {
			err = fmt.Errorf("found %v", found)
		}
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// Who asks for what somebody else has asked for does not wait for that one's turn.
func TestWhoJoinsHasItsOwnTurn(t *testing.T) {
	locate(t, 100, func(t *testing.T, n *network, l *locator.Locator) {
		for i := range 20 {
			find(t.Context(), l, fmt.Sprint("flood ", i), "flood")
		}
		flood := find(t.Context(), l, "common", "flood")
		honest := find(t.Context(), l, "common", "honest")
		begun := time.Now()
		require.NoError(t, <-honest)
		require.LessOrEqual(t, time.Since(begun), 3*took)
		require.NoError(t, <-flood, "it has it too")
		require.Equal(t, 1, count(n.lookups(), "common"))
	})
}

// Where one's turn is lost others keep theirs.
func TestAnothersTurnIsLost(t *testing.T) {
	locate(t, 5, func(t *testing.T, n *network, l *locator.Locator) {
		for i := range 4 {
			find(t.Context(), l, fmt.Sprint("flood ", i), "flood")
		}
		flood := find(t.Context(), l, "common", "flood")
		honest := find(t.Context(), l, "common", "honest")
		for i := range 3 {
			find(t.Context(), l, fmt.Sprint("others' ", i), fmt.Sprint("another ", i))
		}
		require.ErrorIs(t, <-flood, locator.ErrBusy)
		require.ErrorIs(t, <-find(t.Context(), l, "common", "flood"), locator.ErrBusy, "and again")
		require.NoError(t, <-honest)
		require.NoError(t, <-find(t.Context(), l, "common", "flood"), "it is known now")
	})
}

// What nobody waits for any more is not looked up.
func TestNobodyWaits(t *testing.T) {
	locate(t, 100, func(t *testing.T, n *network, l *locator.Locator) {
		find(t.Context(), l, "first", "a")
		ctx, cancel := context.WithCancel(t.Context())
		one, other := find(ctx, l, "second", "b"), find(ctx, l, "second", "c")
		cancel()
		require.ErrorIs(t, <-one, context.Canceled)
		require.ErrorIs(t, <-other, context.Canceled)
		require.NoError(t, <-find(t.Context(), l, "third", "a"))
		require.Equal(t, []string{"first", "third"}, n.lookups())
		require.NoError(t, <-find(t.Context(), l, "second", "b"))
	})
}

func TestRemembered(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		life time.Duration
	}{
		"who provides it":            {nil, 10 * time.Second},
		"that nobody does":           {maculadht.ErrNotFound, 3 * time.Second},
		"that nobody could be asked": {errors.New("unreachable"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			locate(t, 100, func(t *testing.T, n *network, l *locator.Locator) {
				n.err = test.err
				ask := func() { _, err := l.Find(t.Context(), "p", of("a")); require.NoError(t, err) }
				ask()
				if test.life > 0 {
					time.Sleep(test.life - time.Millisecond)
					ask()
					require.Len(t, n.lookups(), 1)
					time.Sleep(2 * time.Millisecond)
				}
				ask()
				require.Len(t, n.lookups(), 2)
			})
		})
	}
}

func TestClosed(t *testing.T) {
	locate(t, 100, func(t *testing.T, n *network, l *locator.Locator) {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		require.ErrorIs(t, <-find(t.Context(), l, "p", "a"), proto.ErrClosed)
	})
}

func TestGatewayAt(t *testing.T) {
	locate(t, 1, func(t *testing.T, n *network, l *locator.Locator) {
		_, ok := l.GatewayAt("")
		require.False(t, ok)
		c := routing.Contact{ID: routing.IDFromBytes([]byte("gateway")), Peer: peer.ID("gateway"), Endpoint: "https://192.0.2.1:9443", Verified: true}
		seen := c
		seen.ID, seen.Peer, seen.EndpointSeen = routing.IDFromBytes([]byte("seen")), peer.ID("seen"), true
		_, ok = l.GatewayAt(c.Endpoint)
		require.False(t, ok)
		require.NoError(t, n.routing.Admit(c))
		time.Sleep(time.Minute)
		_, ok = l.GatewayAt(c.Endpoint)
		require.False(t, ok, "it only says so")
		require.NoError(t, n.routing.Admit(seen))
		time.Sleep(time.Minute)
		at, ok := l.GatewayAt(c.Endpoint)
		require.True(t, ok)
		require.Equal(t, seen.Peer, at.ID)
		require.True(t, n.routing.Forget(c.ID))
		_, ok = l.Contact([]byte("short"))
		require.False(t, ok)
		_, ok = l.Contact(c.ID[:])
		require.False(t, ok)
	})
}

func count(all []string, name string) (n int) {
	for _, other := range all {
		if other == name {
			n++
		}
	}
	return n
}
