package maculadht

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
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

// A record that is advertised outlives its ttl; one that is withdrawn does not,
// nor do the copies that were handed over meanwhile.
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

	a.Withdraw()
	a.Withdraw() // does nothing
	withdrawn := time.Now()
	late := newService(t, dhttest.Host(t), eager)
	dhttest.Connect(t, late.host, services[0].host)
	holds := func(s *Service) bool {
		_, err := s.Handlers().LookupValue(t.Context(), ServiceKey("greeter"))
		return err == nil
	}
	eventually(t, func() bool { return holds(late) }, "handed over")
	all := append(services, late)
	for _, s := range all {
		require.WithinRange(t, expires(s), withdrawn, withdrawn.Add(ttl), "no copy outlives the record")
	}
	for _, s := range all {
		eventually(t, func() bool { return !holds(s) }, "gone")
	}
	_, err = late.FindProviders(dhttest.Context(t), "greeter")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestAdvertisementEndsWithItsService(t *testing.T) {
	services := chain(t, 2)
	a, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	require.NoError(t, services[0].Close())
	<-a.publication.done
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

// countedStore ends a test when it has been written to often enough.
type countedStore struct {
	records.Store
	left   int
	enough context.CancelFunc
}

func (c *countedStore) Update(ctx context.Context, key []byte, d records.Durability, change func([]records.Record) []records.Record, done func(error)) {
	if c.left--; c.left == 0 {
		c.enough()
	}
	c.Store.Update(ctx, key, d, change, done)
}

// A node that stays alone goes on trying, and never faster than the ttl asks for.
func TestAdvertisedAloneForLong(t *testing.T) {
	const ttl, publications = 10 * time.Second, 200
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		store := &countedStore{Store: records.NewMemoryStore(), left: publications, enough: cancel}
		kept, err := records.New(records.WithStore(store))
		require.NoError(t, err)
		defer kept.Close()
		srv, err := routing.NewServer(routing.IDFromBytes([]byte("alone")), routing.WithRecords(kept))
		require.NoError(t, err)
		defer srv.Close()
		s := &Service{routing: srv, network: router{}, tracer: noTracer{}, ctx: t.Context(), log: logs.Logger("dht")}
		s.lookups, err = lookup.New(srv, s.network)
		require.NoError(t, err)
		value, err := wire.ParseValue(dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))}))
		require.NoError(t, err)

		start := time.Now()
		publish(ctx, s, value)
		require.Greater(t, time.Since(start), publications*ttl*6/10)
		require.Less(t, time.Since(start), publications*ttl*8/10)
	})
}

// publish has a service publish a value until ctx ends.
func publish(ctx context.Context, s *Service, value wire.Value) {
	p := &publication{base: value, ctx: ctx, published: make(chan struct{}),
		now: func() replication.Copy { return replication.Copy{Key: []byte("k"), Value: value} }}
	p.run(s, schedule{pause: firstRepublish})
}

// flakyStore fails at some of its updates, which are counted from 1.
type flakyStore struct {
	records.Store
	fails func(update int) bool
	count atomic.Int32
}

func (f *flakyStore) Update(ctx context.Context, key []byte, d records.Durability, change func([]records.Record) []records.Record, done func(error)) {
	if f.fails(int(f.count.Add(1))) {
		done(errors.New("disk busy"))
		return
	}
	f.Store.Update(ctx, key, d, change, done)
}

// oneHolder is a network with one node that keeps what it is given.
type oneHolder struct {
	mu   sync.Mutex
	puts []time.Time
}

func (*oneHolder) Send(context.Context, routing.Contact, wire.Message) error { return nil }
func (o *oneHolder) Query(_ context.Context, _ routing.Contact, m wire.Message) (wire.Message, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := m.(*wire.Call); ok {
		o.puts = append(o.puts, time.Now())
		return &wire.Reply{}, nil
	}
	return &wire.FindNodeReply{}, nil
}

// A disk that fails is no reason to be gone from the network, and is tried again.
func TestAdvertisedThroughABusyDisk(t *testing.T) {
	const ttl = 300 * time.Second
	tests := map[string]struct{ fails func(int) bool }{
		"one write fails": {func(n int) bool { return n == 2 }},
		"all do for long": {func(n int) bool { return n < 10 }},
		"every write":     {func(n int) bool { return true }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*ttl)
				defer cancel()
				store := &flakyStore{Store: records.NewMemoryStore(), fails: test.fails}
				kept, err := records.New(records.WithStore(store))
				require.NoError(t, err)
				defer kept.Close()
				srv, err := routing.NewServer(routing.IDFromBytes([]byte("self")), routing.WithRecords(kept))
				require.NoError(t, err)
				defer srv.Close()
				other := dhttest.PeerID(t)
				require.NoError(t, srv.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
				net := &oneHolder{}
				s := &Service{routing: srv, network: net, tracer: noTracer{}, ctx: ctx, log: logs.Logger("dht")}
				s.lookups, err = lookup.New(srv, net)
				require.NoError(t, err)
				value, err := wire.ParseValue(dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))}))
				require.NoError(t, err)
				publish(ctx, s, value)
				require.GreaterOrEqual(t, len(net.puts), 5)
				for i := 1; i < len(net.puts); i++ {
					require.LessOrEqual(t, net.puts[i].Sub(net.puts[i-1]), ttl*8/10, "the holders' copies are renewed in time")
				}
				require.GreaterOrEqual(t, store.count.Load(), int32(6), "and the own copy is tried again")
			})
		})
	}
}

// A value that can not be kept here is put elsewhere all the same.
func TestStoreThroughABrokenDisk(t *testing.T) {
	store := &flakyStore{Store: records.NewMemoryStore(), fails: func(int) bool { return true }}
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

// A zero byte belongs to the key, or to the provider, as it stands.
func TestAdvertisementsAreToldApart(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	for _, of := range [][2]string{{"key", "a\x00b"}, {"key\x00a", "b"}, {"key\x00", "a\x00b"}} {
		_, err := s.Advertise(t.Context(), []byte(of[0]), dhttest.Value(of[1]))
		require.NoError(t, err)
	}
	require.Len(t, s.publications, 3)
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

// A record's addresses are its provider's, or nobody's.
func TestAddressesOfARecord(t *testing.T) {
	p, other := dhttest.PeerID(t), dhttest.PeerID(t)
	at := []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.7/udp/9443/quic-v1")}
	id := routing.IDFromPeer(p)
	list := func(p peer.ID) wire.Raw {
		var raw []wire.Raw
		for _, b := range routing.EncodePeerAddrs(p, at) {
			raw = append(raw, wire.RawBytes(b))
		}
		return wire.RawArray(raw...)
	}
	for name, test := range map[string]struct {
		nodeID []byte
		addrs  wire.Raw
		want   peer.AddrInfo
	}{
		"its own":       {id[:], list(p), peer.AddrInfo{ID: p, Addrs: at}},
		"somebody's":    {id[:], list(other), peer.AddrInfo{}},
		"no provider's": {nil, list(p), peer.AddrInfo{}},
		"no list":       {id[:], wire.RawText("x"), peer.AddrInfo{}},
		"no addresses":  {id[:], wire.RawArray(wire.RawInt(1), wire.RawText("x")), peer.AddrInfo{}},
		"too long":      {id[:], wire.RawArray(wire.RawBytes(make([]byte, 1000))), peer.AddrInfo{}},
	} {
		t.Run(name, func(t *testing.T) {
			v := lookup.FoundValue{Value: wire.Value{NodeID: test.nodeID, Raw: wire.RawMap(wire.Pair{Key: "addrs", Value: test.addrs})}}
			require.Equal(t, test.want, providerOf(v).Peer)
		})
	}
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

func TestRepublishedInTime(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 5 * time.Second, DefaultServiceTTL, wire.MaxTTL} {
		seen := make(map[time.Duration]bool)
		for range 100 {
			after := republishAfter(ttl)
			require.LessOrEqual(t, after, ttl*8/10)
			require.Greater(t, after, ttl*7/10)
			seen[after] = true
		}
		require.Greater(t, len(seen), 50, "with jitter")
	}
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
