package maculadht

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// confirms tells whether a service has a contact that nothing speaks against.
func confirms(s *Service, id routing.ID) bool {
	c, there := s.Routing().Contact(id)
	return there && c.Confirmed()
}

// A peer that has gone is doubted at once; one that has only closed the connection
// is asked, and answers.
func TestWhoLeftIsDoubted(t *testing.T) {
	for name, leaves := range map[string]bool{"it is gone": true, "it lives": false} {
		t.Run(name, func(t *testing.T) {
			services := chain(t, 2)
			s, other := services[0], services[1]
			id := other.Routing().Self()
			require.True(t, confirms(s, id))
			if leaves {
				// It dies. A service that is closed in order says that it answers no more,
				// and is taken out.
				require.NoError(t, other.host.Close())
			} else {
				require.NoError(t, other.host.Network().ClosePeer(s.host.ID()))
			}
			eventually(t, func() bool { return !confirms(s, id) }, "doubted")
			require.True(t, knows(s, other.host)(), "but not taken out")
			if !leaves {
				eventually(t, func() bool { return confirms(s, id) }, "it has answered")
			}
		})
	}
}

// Short-lived programs come and go all the time. Whoever stays stores and finds as
// if they were not there.
func TestAmongAppsThatComeAndGo(t *testing.T) {
	const apps = 20
	services := chain(t, 3)
	first, last := services[0], services[2]
	joinAll(t, services...)

	next := make(chan struct{})
	done := make(chan struct{})
	go func() { // one app after the other, until the test has all that it wants
		defer close(done)
		for i := 0; ; i++ {
			h := dhttest.Host(t)
			app, err := New(h)
			if err == nil {
				dhttest.Connect(t, h, services[i%3].host)
				for range 100 {
					if knows(services[i%3], h)() {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				app.Close()
			}
			h.Close()
			select {
			case next <- struct{}{}:
			case <-t.Context().Done():
				return
			}
			if i == apps-1 {
				return
			}
		}
	}()
	var took []time.Duration
	for i := range apps {
		<-next
		key := keyOf(fmt.Sprint("key ", i))
		value := dhttest.Value(fmt.Sprint("provider ", i), wire.Pair{Key: "ttl", Value: wire.RawInt(300)})
		start := time.Now()
		replicas, err := first.Store(dhttest.Context(t), key, value)
		require.NoError(t, err)
		for _, s := range services[1:] {
			require.Contains(t, routingIDs(replicas.Acknowledged), s.Routing().Self(), "who stays has it")
		}
		found, err := last.FindValues(dhttest.Context(t), key)
		require.NoError(t, err)
		require.Equal(t, value, found.Values[0].Raw)
		took = append(took, time.Since(start))
	}
	<-done
	slices.Sort(took)
	require.Less(t, took[len(took)*3/4], lookup.DefaultSlow/2, "most as if there were no apps")
	require.Less(t, took[len(took)-1], 3*lookup.DefaultSlow, "one that leaves as it is named costs no more than its slots")

	// A newcomer is told of those that stay, and joins as if the others had not been.
	newcomer := newService(t, dhttest.Host(t))
	start := time.Now()
	require.NoError(t, newcomer.Join(t.Context(), infoOf(first.host)))
	joined(t, newcomer)
	require.Less(t, time.Since(start), 3*lookup.DefaultSlow)
}

func routingIDs(contacts []routing.Contact) []routing.ID {
	ids := make([]routing.ID, len(contacts))
	for i, c := range contacts {
		ids[i] = c.ID
	}
	return ids
}

// joinAll has each service know each other.
func joinAll(t *testing.T, services ...*Service) {
	t.Helper()
	for i, a := range services {
		for _, b := range services[:i] {
			dhttest.Connect(t, a.host, b.host)
		}
	}
	for _, a := range services {
		for _, b := range services {
			if a != b {
				eventually(t, knows(a, b.host), "all know all")
			}
		}
	}
}

// What could not be asked is not "not found".
func TestLookupsThatCanNotBe(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		services int
		before   func(t *testing.T, services []*Service)
		err      error
	}{
		"nobody is known":   {1, func(*testing.T, []*Service) {}, ErrNoPeers},
		"after Close":       {2, func(t *testing.T, s []*Service) { require.NoError(t, s[0].Close()) }, ErrClosed},
		"all have answered": {3, func(*testing.T, []*Service) {}, nil},
		"nobody answers": {3, func(t *testing.T, s []*Service) {
			for _, gone := range s[1:] {
				require.NoError(t, gone.Close())
				require.NoError(t, gone.host.Close())
				require.NoError(t, s[0].Routing().Admit(dhttest.Contact(gone.host)))
			}
		}, ErrUnanswered},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			services := chain(t, test.services)
			test.before(t, services)
			_, err := services[0].FindNodes(dhttest.Context(t), keyOf("greeter"))
			require.ErrorIs(t, err, test.err)
			_, err = services[0].FindValues(dhttest.Context(t), keyOf("greeter"))
			if test.err == nil {
				require.ErrorIs(t, err, ErrNotFound)
				return
			}
			require.ErrorIs(t, err, test.err)
			require.NotErrorIs(t, err, ErrNotFound)
		})
	}
}
