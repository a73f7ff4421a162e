package maculadht

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

func TestAdvertisedServiceIsFoundByWhoNeverMetItsProvider(t *testing.T) {
	t.Parallel()
	services := chain(t, 4)
	provider, caller := services[0], services[3]
	metadata := wire.RawMap(wire.Pair{Key: "version", Value: wire.RawText("2")})
	a, err := provider.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080", Metadata: metadata})
	require.NoError(t, err)
	published(t, a)

	found, err := caller.FindProviders(dhttest.Context(t), "greeter")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, dhttest.NodeID(provider.host), found[0].NodeID)
	require.Equal(t, "https://127.0.0.1:8080", found[0].Endpoint)
	require.Equal(t, metadata, found[0].Metadata)
	require.WithinDuration(t, time.Now().Add(DefaultServiceTTL), found[0].Expires, 5*time.Second)
	ttl, ok := found[0].Value.Field("ttl")
	require.True(t, ok)
	require.Equal(t, wire.RawInt(300), ttl)

	replicas, err := a.Last()
	require.NoError(t, err)
	require.Len(t, replicas.Acknowledged, 3)
}

func TestSubscribersAsErlangNodesWriteThem(t *testing.T) {
	services := chain(t, 2)
	subscriber := wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText("a7b1")},
		wire.Pair{Key: "endpoint", Value: wire.RawText("unknown")},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
	)
	_, err := services[0].Store(dhttest.Context(t), TopicKey("sensor.temp"), subscriber)
	require.NoError(t, err)
	found, err := services[1].Subscribers(dhttest.Context(t), "sensor.temp")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "a7b1", string(found[0].NodeID))
	require.Equal(t, "unknown", found[0].Endpoint)
	require.Nil(t, found[0].Metadata)

	none, err := services[1].Subscribers(dhttest.Context(t), "nothing")
	require.ErrorIs(t, err, ErrNotFound)
	require.Empty(t, none)
}

// A record that is advertised outlives its ttl; one that is withdrawn is gone at once,
// at all who have it, and no copy that comes late brings it back.
func TestAdvertisedUntilWithdrawn(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Second // a fifth of it is time enough to publish again, be the machine busy
	eager := handOverAtOnce()
	services := make([]*Service, 3)
	for i := range services {
		services[i] = newService(t, dhttest.Host(t), eager)
	}
	for _, s := range services[1:] {
		dhttest.Connect(t, s.host, services[0].host)
		eventually(t, knows(services[0], s.host), "admitted")
	}
	a, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080", TTL: ttl})
	require.NoError(t, err)
	published(t, a)

	expires := func(s *Service) time.Time {
		found, err := s.Routing().Records().Values(t.Context(), ServiceKey("greeter"))
		require.NoError(t, err, "never gone meanwhile")
		return found[0].Expires
	}
	twice := time.Now().Add(2 * ttl)
	for _, s := range services {
		eventually(t, func() bool { return expires(s).After(twice) }, "published again and again")
	}

	key := ServiceKey("greeter")
	before, err := services[1].Routing().Records().Values(t.Context(), key)
	require.NoError(t, err)
	require.NoError(t, a.Withdraw())
	gone := func(s *Service) bool {
		values, withdrawn, err := s.Routing().Records().Records(t.Context(), key, time.Now())
		require.NoError(t, err)
		return len(values) == 0 && len(withdrawn) == 1
	}
	for _, s := range services {
		require.True(t, gone(s), "at once")
	}
	require.NoError(t, a.Withdraw(), "does nothing")

	late := newService(t, dhttest.Host(t), eager)
	dhttest.Connect(t, late.host, services[0].host)
	eventually(t, func() bool { return gone(late) }, "that it was withdrawn is handed over")
	copied := procedures.StoreArgs{Key: key, Value: before[0].Value, ExpiresIn: wire.Some[int64](3), Proof: before[0].Proof.Envelope}
	asker := newClient(t, dhttest.Host(t))
	for _, s := range append(services, late) {
		for _, proof := range [][]byte{copied.Proof, nil} {
			copied.Proof = proof
			require.ErrorIs(t, client.Put(dhttest.Context(t), asker, dhttest.Contact(s.host), copied), proto.ErrRemote, "a copy that comes late")
		}
		copied.Proof = before[0].Proof.Envelope
		require.True(t, gone(s))
	}
	_, err = late.FindProviders(dhttest.Context(t), "greeter")
	require.ErrorIs(t, err, ErrNotFound)

	again, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	published(t, again)
	found, err := late.FindProviders(dhttest.Context(t), "greeter")
	require.NoError(t, err)
	require.True(t, found[0].Proved)
}

// A reader that finds a stale copy learns from another holder that it was withdrawn.
func TestReadersAreToldOfWithdrawals(t *testing.T) {
	t.Parallel()
	services := meshOf(t, 3)
	a, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	published(t, a)
	key := ServiceKey("greeter")
	before, err := services[1].Routing().Records().Values(t.Context(), key)
	require.NoError(t, err)
	require.NoError(t, a.Withdraw())

	stale := newService(t, dhttest.Host(t))
	put := records.Put{Key: key, Value: before[0].Value, NodeID: before[0].NodeID, TTL: time.Hour, Proof: before[0].Proof}
	require.NoError(t, stale.Routing().Records().Store(t.Context(), put), "it was away")
	reader := newService(t, dhttest.Host(t), WithMode(ModeClient), WithLookups(lookup.WithQuorum(0)))
	for _, s := range append(services, stale) {
		dhttest.Connect(t, reader.host, s.host)
		eventually(t, knows(reader, s.host), "met")
	}
	found, err := reader.FindProviders(dhttest.Context(t), "greeter")
	require.ErrorIs(t, err, ErrNotFound)
	require.Empty(t, found)
}

// A clock that was set back does not lock a provider out of its own record.
func TestAdvertisedAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	services := meshOf(t, 2)
	signer, err := services[0].newSigner(services[0].Handlers().Realm())
	require.NoError(t, err)
	key, ahead := ServiceKey("greeter"), time.Now().Add(5*time.Minute)
	id := signer.NodeID()
	for _, value := range []wire.Raw{dhttest.Value(string(id[:])), nil} {
		proof, err := signer.Seal(key, value, ahead, ahead.Add(time.Hour))
		require.NoError(t, err)
		for _, s := range services {
			put := records.Put{Key: key, Value: value, NodeID: id[:], Proof: proof}
			require.NoError(t, s.Routing().Records().Store(t.Context(), put))
		}
		a, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
		require.NoError(t, err)
		published(t, a)
		for _, s := range services {
			found, err := s.Routing().Records().Values(t.Context(), key)
			require.NoError(t, err)
			require.Greater(t, found[0].Proof.Sequence, ahead.UnixMilli())
		}
		require.NoError(t, a.Withdraw())
		ahead = ahead.Add(time.Minute)
	}
}

func TestAdvertisementEndsWithItsService(t *testing.T) {
	services := chain(t, 2)
	_, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	require.NoError(t, services[0].Close())
	_, err = services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.ErrorIs(t, err, proto.ErrClosed)
}

// Who advertises before there is a network is found once there is one.
func TestAdvertisedBeforeThereIsANetwork(t *testing.T) {
	first, second := newService(t, dhttest.Host(t)), newService(t, dhttest.Host(t))
	a, err := first.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	eventually(t, func() bool { _, err := a.Last(); return err != nil }, "the first publication fails")
	_, err = a.Last()
	require.ErrorIs(t, err, ErrNoReplicas)

	dhttest.Connect(t, first.host, second.host)
	published(t, a)
	_, err = second.Handlers().LookupValue(t.Context(), ServiceKey("greeter"))
	require.NoError(t, err)
}

// brokenStore takes nothing.
type brokenStore struct{ records.Store }

func (brokenStore) Update(_ context.Context, _ []byte, _ records.Durability, _ func([]records.Record) []records.Record, done func(error)) {
	done(errors.New("disk busy"))
}

// A value that can not be kept here is put elsewhere all the same.
func TestStoreThroughABrokenDisk(t *testing.T) {
	store := brokenStore{records.NewMemoryStore()}
	kept, err := records.New(records.WithStore(store))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close()) })
	broken, other := newService(t, dhttest.Host(t), WithRouting(routing.WithRecords(kept))), newService(t, dhttest.Host(t))
	dhttest.Connect(t, broken.host, other.host)
	eventually(t, knows(broken, other.host), "connected")
	replicas, err := broken.Store(dhttest.Context(t), []byte("k"), dhttest.Value("me"))
	require.ErrorIs(t, err, ErrNotKept)
	require.ErrorContains(t, err, "disk busy")
	require.Len(t, replicas.Acknowledged, 1)
	a, err := broken.Advertise(t.Context(), []byte("l"), dhttest.Value("me"))
	require.NoError(t, err)
	defer a.Withdraw()
	published(t, a)
}

// Two values of one provider would replace each other in turn.
func TestTwoAdvertisementsUnderOneKey(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	first, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	_, err = s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8081"})
	require.ErrorIs(t, err, ErrAdvertised)
	same, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	other, err := s.Advertise(t.Context(), ServiceKey("greeter"), dhttest.Value("another provider"))
	require.NoError(t, err)
	defer other.Withdraw()

	first.Withdraw()
	first.Withdraw()
	_, err = s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8081"})
	require.ErrorIs(t, err, ErrAdvertised, "the second lives")
	same.Withdraw()
	moved, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8081"})
	require.NoError(t, err)
	defer moved.Withdraw()
	values, err := s.Handlers().LookupValue(t.Context(), ServiceKey("greeter"))
	require.NoError(t, err)
	require.Len(t, values, 2)
}

// Whoever finds a provider can dial it, where it is now.
func TestProviderCanBeDialled(t *testing.T) {
	t.Parallel()
	services := chain(t, 3)
	provider, caller := services[0], services[2]
	a, err := provider.AdvertiseService(t.Context(), Offer{Name: "greeter"})
	require.NoError(t, err)
	defer a.Withdraw()
	published(t, a)
	found, err := caller.FindProviders(dhttest.Context(t), "greeter")
	require.NoError(t, err)
	require.Equal(t, infoOf(provider.host), found[0].Peer)
	require.Empty(t, found[0].Endpoint)
	require.NoError(t, caller.host.Connect(dhttest.Context(t), found[0].Peer))
	endpoint, ok := found[0].Value.Field("endpoint")
	require.True(t, ok, "Erlang nodes want one")
	require.Equal(t, wire.Bin, endpoint.Kind())
}

func TestWhatCanNotBeAdvertised(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	tests := map[string]func() error{
		"a service without a name": func() error {
			_, err := s.AdvertiseService(t.Context(), Offer{Name: "", Endpoint: "https://127.0.0.1:8080"})
			return err
		},
		"a service without an endpoint, of a node without addresses": func() error {
			nowhere := newService(t, dhttest.Host(t, libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return nil })))
			_, err := nowhere.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: ""})
			return err
		},
		"an endpoint that is too long": func() error {
			_, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://" + string(make([]byte, wire.MaxField))})
			return err
		},
		"metadata that are no map": func() error {
			_, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080", Metadata: wire.RawInt(1)})
			return err
		},
		"half a second of life": func() error {
			_, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080", TTL: time.Second / 2})
			return err
		},
		"two days of life": func() error {
			_, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080", TTL: 48 * time.Hour})
			return err
		},
		"a value that is no map": func() error {
			_, err := s.Advertise(t.Context(), []byte("k"), wire.RawInt(1))
			return err
		},
		"no key": func() error {
			_, err := s.Advertise(t.Context(), nil, dhttest.Value("me"))
			return err
		},
	}
	for name, advertise := range tests {
		t.Run(name, func(t *testing.T) { require.ErrorIs(t, advertise(), proto.ErrInvalidRequest) })
	}
	require.Zero(t, s.Routing().Records().Stats().Records)
}

// published waits until another node has an advertised record.
func published(t *testing.T, a *Advertisement) {
	t.Helper()
	select {
	case <-a.Published():
	case <-time.After(dhttest.Patience):
		_, err := a.Last()
		require.NoError(t, err, "published")
	}
}
