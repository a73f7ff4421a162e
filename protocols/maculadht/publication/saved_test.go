package publication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// somewhere is a node with one address and an endpoint.
type somewhere struct{}

func (somewhere) AddrsFor(addressing.Reach) []ma.Multiaddr {
	return []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/9443/quic-v1")}
}
func (somewhere) EndpointFor(addressing.Reach) string { return "https://127.0.0.1:9443" }

// starts returns a publisher that keeps its advertisements in s.
func starts(t *testing.T, s state.State, n routing.Network, with ...func(*Config)) *Publisher {
	t.Helper()
	p := newPublisher(t, n)
	cfg := p.cfg
	cfg.State, cfg.Node, cfg.Peer = s, somewhere{}, peerOfTests
	for _, change := range with {
		change(&cfg)
	}
	saving, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(saving.Close)
	return saving
}

var peerOfTests = peer.ID("\x00\x01a")

// valuesOf returns the records under a key.
func valuesOf(t *testing.T, p *Publisher, key []byte) (all []wire.Raw) {
	t.Helper()
	found, err := p.cfg.Routing.Records().Values(t.Context(), key)
	if err != nil {
		return nil
	}
	for _, r := range found {
		all = append(all, r.Value)
	}
	return all
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, dhttest.Patience, time.Millisecond, what)
}

var (
	greeter = provider.Offer{Name: "greeter", Metadata: wire.RawMap(wire.Pair{Key: "version", Value: wire.RawInt(2)}), TTL: time.Minute}
	moved   = provider.Offer{Name: "greeter", Endpoint: "https://192.0.2.7:8080"}
)

// What was advertised goes on after a kill, as it was: a service with the addresses
// that the node has now.
func TestAdvertisementsGoOnAfterARestart(t *testing.T) {
	for name, key := range map[string][]byte{"a key": []byte("k"), "an empty key": {}, "any bytes": {0xC1, 0, 0xFF}} {
		t.Run(name, func(t *testing.T) {
			var kept statetest.Memory
			p := starts(t, &kept, &oneHolder{})
			value := dhttest.DeepValue(values.MaxDepth)
			_, err := p.Advertise(t.Context(), key, value)
			require.NoError(t, err)
			_, err = p.AdvertiseService(t.Context(), greeter)
			require.NoError(t, err)
			before := p.Advertisements()
			require.Len(t, before, 2)
			for _, s := range before {
				require.True(t, s.Saved)
				require.False(t, s.Resumed)
				require.WithinDuration(t, time.Now(), s.Since, time.Minute)
			}

			again := starts(t, kept.Copy(), &oneHolder{}) // as after a kill
			after := again.Advertisements()
			require.Len(t, after, 2)
			for _, s := range after {
				require.True(t, s.Saved)
				require.True(t, s.Resumed)
				if s.Offer != nil {
					require.Equal(t, greeter, *s.Offer)
					continue
				}
				require.Equal(t, key, s.Key)
				require.Equal(t, value, s.Value)
			}
			require.Equal(t, before[0].Since.Unix(), after[0].Since.Unix())
			eventually(t, func() bool { return len(valuesOf(t, again, key)) == 1 }, "kept here at once")
			var here []wire.Raw
			eventually(t, func() bool { here = valuesOf(t, again, provider.Key("greeter")); return len(here) == 1 }, "kept here at once")
			_, has := here[0].Field("addrs")
			require.True(t, has, "with where it is now")

			p.Close()
			require.Equal(t, 2, len(kept.Keys()), "Close keeps them")
		})
	}
}

func TestWithdrawnDoesNotComeBack(t *testing.T) {
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	first, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	second, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	require.NoError(t, first.Withdraw())
	require.Len(t, kept.Keys(), 1, "the second lives")
	require.NoError(t, second.Withdraw())
	require.NoError(t, second.Withdraw(), "does nothing")
	require.Empty(t, kept.Keys())
	require.Empty(t, p.Advertisements())

	third, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	require.NoError(t, second.Withdraw())
	require.Len(t, kept.Keys(), 1, "it is another's now")
	p.Close()
	require.ErrorIs(t, third.Withdraw(), proto.ErrClosed)
	require.Len(t, kept.Keys(), 1)

	again := starts(t, &kept, &oneHolder{})
	require.Len(t, again.Advertisements(), 1)
	require.NoError(t, again.Advertisements()[0].Withdraw())
	require.Empty(t, kept.Keys())
	require.Empty(t, again.Advertisements())
}

// What ends with the process does not come back, unless it is advertised for longer too.
func TestBriefDoesNotComeBack(t *testing.T) {
	var kept statetest.Memory
	brief := greeter
	brief.Brief = true
	p := starts(t, &kept, &oneHolder{})
	_, err := p.AdvertiseService(t.Context(), brief)
	require.NoError(t, err)
	require.Empty(t, kept.Keys())
	_, err = p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	require.Len(t, kept.Keys(), 1)
	again, err := p.AdvertiseService(t.Context(), brief)
	require.NoError(t, err)
	require.NoError(t, again.Withdraw())
	require.Len(t, kept.Keys(), 1)
}

// Whoever advertises again what goes on from before takes it over; another value takes
// its place, until somebody has.
func TestResumedIsTakenOver(t *testing.T) {
	var kept statetest.Memory
	before := starts(t, &kept, &oneHolder{})
	_, err := before.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	before.Close()

	t.Run("by the same", func(t *testing.T) {
		kept := kept.Copy()
		p := starts(t, kept, &oneHolder{})
		since := p.Advertisements()[0].Since
		writes := kept.Writes()
		a, err := p.AdvertiseService(t.Context(), greeter)
		require.NoError(t, err)
		require.Len(t, p.Advertisements(), 1)
		require.False(t, p.Advertisements()[0].Resumed)
		require.Equal(t, since, p.Advertisements()[0].Since)
		require.Equal(t, writes, kept.Writes(), "it is there already")
		_, err = p.AdvertiseService(t.Context(), moved)
		require.ErrorIs(t, err, ErrAdvertised)
		require.NoError(t, a.Withdraw())
		require.Empty(t, kept.Keys())
	})
	t.Run("by another", func(t *testing.T) {
		kept := kept.Copy()
		p := starts(t, kept, &oneHolder{})
		_, err := p.AdvertiseService(t.Context(), moved)
		require.NoError(t, err)
		for _, p := range []*Publisher{p, starts(t, kept.Copy(), &oneHolder{})} {
			require.Len(t, p.Advertisements(), 1)
			require.Equal(t, moved.Endpoint, p.Advertisements()[0].Offer.Endpoint)
		}
		_, err = p.AdvertiseService(t.Context(), greeter)
		require.ErrorIs(t, err, ErrAdvertised)
	})
	t.Run("not by who gives up", func(t *testing.T) {
		kept := kept.Copy()
		p := starts(t, kept, &oneHolder{})
		ctx, giveUp := context.WithCancel(t.Context())
		var once sync.Once
		kept.FailWith(func(op string, _ []byte) (err error) {
			once.Do(func() { giveUp(); err = context.Canceled })
			return err
		})
		_, err := p.AdvertiseService(ctx, moved)
		require.ErrorIs(t, err, context.Canceled)
		eventually(t, func() bool { all := p.Advertisements(); return len(all) == 1 && all[0].Saved }, "it goes on")
		for _, p := range []*Publisher{p, starts(t, kept.Copy(), &oneHolder{})} {
			require.Empty(t, p.Advertisements()[0].Offer.Endpoint)
			require.True(t, p.Advertisements()[0].Resumed)
		}
	})
}

// Many that go on are no burst, and none begins before there is somebody.
func TestResumedAreSpread(t *testing.T) {
	const many = 1000
	synctest.Test(t, func(t *testing.T) {
		var kept statetest.Memory
		before := starts(t, &kept, &oneHolder{})
		for i := range many {
			_, err := before.Advertise(t.Context(), fmt.Append(nil, i), dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(3600)}))
			require.NoError(t, err)
		}
		before.Close()

		net := &oneHolder{}
		other := dhttest.PeerID(t)
		p := starts(t, &kept, net, func(c *Config) {
			require.NoError(t, c.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
		})
		synctest.Wait()
		require.EqualValues(t, many, p.cfg.Routing.Records().Stats().Keys, "kept here at once")
		time.Sleep(time.Minute)
		require.Empty(t, net.puts)
		start := time.Now()
		p.Met()
		time.Sleep(many*time.Second/resumedRate + time.Second)
		synctest.Wait()
		net.mu.Lock()
		require.Len(t, net.puts, many, "all are out by then")
		perSecond := make(map[int]int)
		for _, at := range net.puts {
			perSecond[int(at.Sub(start)/time.Second)]++
		}
		net.mu.Unlock()
		for second, n := range perSecond {
			require.LessOrEqual(t, n, resumedRate+1, "in second %d", second)
		}
		p.Close()
	})
}

// Who advertises before there is anybody is published as soon as there is.
func TestPublishedOnceSomebodyIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &oneHolder{}
		p := newPublisher(t, net)
		a, err := p.Advertise(t.Context(), []byte("k"), dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(86400)}))
		require.NoError(t, err)
		time.Sleep(5 * time.Hour)
		_, err = a.Last()
		require.Error(t, err)
		other := dhttest.PeerID(t)
		require.NoError(t, p.cfg.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
		p.Met()
		time.Sleep(time.Second)
		_, err = a.Last()
		require.NoError(t, err)
		p.Close()
	})
}

// No more are saved than go on.
func TestNoMoreAreSavedThanGoOn(t *testing.T) {
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	p.maxSaved = 2
	var all []*Advertisement
	for i := range 3 {
		a, err := p.Advertise(t.Context(), []byte{byte(i)}, dhttest.Value("me"))
		require.Equal(t, i == 2, errors.Is(err, ErrNotSaved))
		all = append(all, a)
	}
	require.Len(t, kept.Keys(), 2)
	require.NoError(t, all[0].Withdraw())
	_, err := p.Advertise(t.Context(), []byte{2}, dhttest.Value("me"))
	require.NoError(t, err, "there is room again")
	require.Len(t, kept.Keys(), 2)
}
