package publication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// Whatever is advertised and withdrawn at once, the state has what is advertised.
func TestAdvertisedAndWithdrawnAtOnce(t *testing.T) {
	const names, users, rounds = 3, 8, 60
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	kept.FailWith(func(string, []byte) error {
		if rand.N(10) == 0 {
			return errDisk
		}
		return nil
	})
	var all sync.WaitGroup
	for range users {
		all.Go(func() {
			for range rounds {
				offer := greeter
				offer.Name = fmt.Sprint("service ", rand.N(names))
				a, err := p.AdvertiseService(t.Context(), offer)
				if err != nil && !errors.Is(err, ErrNotSaved) {
					t.Error(err)
					return
				}
				for a.Withdraw() != nil { // until it is gone
				}
			}
		})
	}
	all.Wait()
	require.Empty(t, p.Advertisements())
	require.Empty(t, kept.Keys())
	require.Zero(t, p.saved)

	kept.FailWith(nil)
	for range 20 {
		a, err := p.AdvertiseService(t.Context(), greeter)
		require.NoError(t, err)
		var both sync.WaitGroup
		both.Go(func() { _ = a.Withdraw() })
		b, err := p.AdvertiseService(t.Context(), greeter)
		require.NoError(t, err)
		both.Wait()
		require.Len(t, kept.Keys(), 1, "the second was acknowledged")
		require.NoError(t, b.Withdraw())
		require.Empty(t, kept.Keys())
	}
}

// slowDelete is a state whose deletions wait for a test.
type slowDelete struct {
	*statetest.Memory
	deleting, goOn chan struct{}
}

func (s slowDelete) Delete(ctx context.Context, key []byte) error {
	s.deleting <- struct{}{}
	<-s.goOn
	return s.Memory.Delete(ctx, key)
}

// Who advertises what is just being withdrawn is not forgotten with it.
func TestAdvertisedWhileItIsForgotten(t *testing.T) {
	s := slowDelete{new(statetest.Memory), make(chan struct{}), make(chan struct{})}
	p := starts(t, s, &oneHolder{})
	first, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	var both sync.WaitGroup
	both.Go(func() { _ = first.Withdraw() })
	<-s.deleting
	both.Go(func() {
		if _, err := p.AdvertiseService(t.Context(), greeter); err != nil {
			t.Error(err)
		}
	})
	eventually(t, func() bool { return len(p.Advertisements()) == 1 }, "the second is there")
	require.Len(t, s.Keys(), 1)
	s.goOn <- struct{}{}
	both.Wait()
	require.Len(t, s.Keys(), 1)
}

// stalled is a network in which a question takes as long as a test wants.
type stalled struct {
	oneHolder
	asked, goOn chan struct{}
}

func (s *stalled) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	select {
	case s.asked <- struct{}{}:
		<-s.goOn
	default:
	}
	return s.oneHolder.Query(ctx, to, m)
}

// The same where the second is saved before the first is forgotten.
func TestAdvertisedBeforeItIsForgotten(t *testing.T) {
	var kept statetest.Memory
	net := &stalled{asked: make(chan struct{}), goOn: make(chan struct{})}
	other := dhttest.PeerID(t)
	p := starts(t, &kept, net, func(c *Config) {
		require.NoError(t, c.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
	})
	first, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	<-net.asked // its publication is under way, and keeps Withdraw waiting
	withdrawn := make(chan error)
	go func() { withdrawn <- first.Withdraw() }()
	eventually(t, func() bool { return len(p.Advertisements()) == 0 }, "withdrawn")
	_, err = p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	close(net.goOn)
	require.NoError(t, <-withdrawn)
	require.Len(t, kept.Keys(), 1)
	require.Len(t, p.Advertisements(), 1)
}
