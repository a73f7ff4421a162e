package maculadht

import (
	"errors"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// A service that was killed comes back, on another port and without a bootstrap peer,
// with all that it advertised, and without the program saying so.
func TestBackAfterAKill(t *testing.T) {
	t.Parallel()
	identity, _ := newIdentity(t)
	others := chain(t, 2)
	var kept statetest.Memory
	h := dhttest.Host(t, identity)
	s := newService(t, h, WithState(&kept))
	require.NoError(t, s.Join(t.Context(), infoOf(others[0].host)))
	joined(t, s)
	a, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter"})
	require.NoError(t, err)
	withdrawn, err := s.AdvertiseService(t.Context(), Offer{Name: "gone", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	require.NoError(t, withdrawn.Withdraw())
	published(t, a)
	eventually(t, func() bool { return len(kept.Keys()) == 2 }, "the contacts are kept too")
	atTheKill := kept.Copy()
	require.NoError(t, h.Close())
	require.NoError(t, s.Close())

	back := newService(t, dhttest.Host(t, identity), WithState(atTheKill))
	all := back.Advertisements()
	require.Len(t, all, 1)
	require.Equal(t, "greeter", all[0].Offer.Name)
	require.True(t, all[0].Resumed)
	require.NoError(t, back.Join(t.Context()))
	joined(t, back)
	eventually(t, func() bool {
		replicas, err := back.Advertisements()[0].Last, back.Advertisements()[0].Err
		return replicas != nil && err == nil
	}, "published")
	found, err := others[1].FindProviders(dhttest.Context(t), "greeter")
	require.NoError(t, err)
	require.Equal(t, infoOf(back.host), found[0].Peer, "where it is now")
	_, err = back.FindValues(dhttest.Context(t), keyOf("nothing"))
	require.ErrorIs(t, err, ErrNotFound, "it asks the others")

	require.NoError(t, back.Advertisements()[0].Withdraw())
	require.Empty(t, newService(t, dhttest.Host(t), WithState(atTheKill.Copy())).Advertisements())
}

// What was acknowledged before there was a network is published by the next start that
// has one.
func TestKilledBeforeItWasPublished(t *testing.T) {
	identity, _ := newIdentity(t)
	var kept statetest.Memory
	h := dhttest.Host(t, identity)
	s := newService(t, h, WithState(&kept))
	const values = 10
	for i := range values {
		_, err := s.Advertise(t.Context(), keyOf(fmt.Sprint(i)), dhttest.Value(fmt.Sprint("provider ", i)))
		require.NoError(t, err)
	}
	atTheKill := kept.Copy()
	require.NoError(t, s.Close())
	require.NoError(t, h.Close())

	other := newService(t, dhttest.Host(t))
	back := newService(t, dhttest.Host(t, identity), WithState(atTheKill))
	dhttest.Connect(t, back.host, other.host)
	for i := range values {
		eventually(t, func() bool {
			_, err := other.Handlers().LookupValue(t.Context(), keyOf(fmt.Sprint(i)))
			return err == nil
		}, "published")
	}
}

// A state that takes nothing keeps nobody from the network, and is said to.
func TestAStateThatTakesNothing(t *testing.T) {
	var kept statetest.Memory
	kept.FailWith(func(op string, _ []byte) error {
		if op == statetest.Entries {
			return nil
		}
		return errors.New("disk full")
	})
	var log logBook
	other := newService(t, dhttest.Host(t))
	s := newService(t, dhttest.Host(t), WithState(&kept), WithLogger(log.logger()))
	require.NoError(t, s.Join(t.Context(), infoOf(other.host)))
	joined(t, s)
	a, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter"})
	require.ErrorIs(t, err, ErrNotSaved)
	require.ErrorContains(t, err, "disk full")
	published(t, a)
	require.False(t, s.Advertisements()[0].Saved)
	eventually(t, log.has("contacts are not kept for after a restart"), "said")
	require.True(t, log.has("could not be saved for after a restart")())
	require.ErrorIs(t, a.Withdraw(), ErrNotSaved)
	require.Empty(t, s.Advertisements())
}

func TestWithStateThatCanNotBeRead(t *testing.T) {
	var kept statetest.Memory
	kept.FailWith(func(string, []byte) error { return errors.New("disk broken") })
	h := dhttest.Host(t)
	_, err := New(h, WithState(&kept))
	require.ErrorContains(t, err, "disk broken")
	_, err = New(h, WithState(nil))
	require.Error(t, err)
	newService(t, h) // nothing was left on the host
}

// A mesh whose nodes are all killed is one again when they have started, those on other
// ports by the one that is where it was.
func TestAllRestartAtOnce(t *testing.T) {
	t.Parallel()
	const nodes = 4
	states := make([]*statetest.Memory, nodes)
	identities := make([]libp2p.Option, nodes)
	services := make([]*Service, nodes)
	for i := range services {
		states[i] = new(statetest.Memory)
		identities[i], _ = newIdentity(t)
		services[i] = newService(t, dhttest.Host(t, identities[i]), WithState(states[i]))
	}
	for i, s := range services[1:] {
		require.NoError(t, s.Join(t.Context(), infoOf(services[0].host)))
		eventually(t, func() bool { return len(states[i+1].Keys()) == 1 }, "its contacts are kept")
	}
	stays := libp2p.ListenAddrs(services[0].host.Addrs()...)
	for i, s := range services {
		states[i] = states[i].Copy()
		require.NoError(t, s.host.Close())
		require.NoError(t, s.Close())
	}
	identities[0] = libp2p.ChainOptions(identities[0], stays)
	for i := range services {
		services[i] = newService(t, dhttest.Host(t, identities[i]), WithState(states[i]), quick())
		require.NoError(t, services[i].Join(t.Context()))
	}
	for _, a := range services {
		for _, b := range services {
			if a != b {
				eventually(t, knows(a, b.host), "all know all")
			}
		}
	}
}
