package maculadht

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/upkeep"
)

// quick has a service look after its table and its bootstrap peers at the pace of
// a test.
func quick() Option {
	return func(c *serviceConfig) error {
		for _, opt := range []Option{
			WithRetries(50*time.Millisecond, 200*time.Millisecond, 100*time.Millisecond),
			WithUpkeep(upkeep.WithChecks(100*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond)),
			WithLookups(lookup.WithTimeouts(time.Second, 200*time.Millisecond, 5*time.Second)),
			handOverAtOnce(),
		} {
			if err := opt(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// handOverAtOnce hands records over as soon as there is whom to.
func handOverAtOnce() Option {
	return WithUpkeep(upkeep.WithHandOver(10*time.Millisecond, upkeep.DefaultHandOverRate))
}

func infoOf(h host.Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()} }

// newIdentity returns an option for a host of its own key, and the key's peer id.
func newIdentity(tb testing.TB) (libp2p.Option, peer.ID) {
	tb.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(tb, err)
	id, err := peer.IDFromPrivateKey(key)
	require.NoError(tb, err)
	return libp2p.Identity(key), id
}

func TestJoinFillsTheTable(t *testing.T) {
	services := chain(t, 6)
	newcomer := newService(t, dhttest.Host(t))
	require.NoError(t, newcomer.Join(t.Context(), infoOf(services[5].host)))
	joined(t, newcomer)
	for i, s := range services {
		eventually(t, knows(newcomer, s.host), fmt.Sprintf("number %d of the chain is known", i))
		eventually(t, knows(s, newcomer.host), fmt.Sprintf("number %d of the chain knows the newcomer", i))
	}
}

func hasJoined(s *Service) bool {
	select {
	case <-s.Joined():
		return true
	default:
		return false
	}
}

func joined(t *testing.T, s *Service) {
	t.Helper()
	select {
	case <-s.Joined():
	case <-time.After(dhttest.Patience):
		require.Fail(t, "not joined")
	}
}

// A bootstrap peer that is not there yet is joined when it comes.
func TestJoinThroughAPeerThatStartsLate(t *testing.T) {
	identity, _ := newIdentity(t)
	early := dhttest.Host(t, identity)
	info := infoOf(early)
	require.NoError(t, early.Close())

	var log logBook
	impatient := libp2p.SwarmOpts(swarm.WithDialTimeout(100 * time.Millisecond))
	waiting := newService(t, dhttest.Host(t, impatient), quick(), WithLogger(log.logger()))
	_, absent := newIdentity(t)
	never := peer.AddrInfo{ID: absent, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/9/quic-v1")}}
	require.NoError(t, waiting.Join(t.Context(), never, info))
	eventually(t, func() bool { return log.count(`"bootstrap peer not reached" peer=`+info.ID.String()) >= 4 }, "it is tried again and again")
	require.False(t, hasJoined(waiting), "nobody has answered yet")

	late := newService(t, dhttest.Host(t, identity, libp2p.ListenAddrs(info.Addrs...)))
	joined(t, waiting)
	require.True(t, knows(waiting, late.host)())
	eventually(t, knows(late, waiting.host), "and known in return")
	eventually(t, func() bool { return log.has("joined the network")() && log.has("peers=1")() }, "the log says so")
}

// A bootstrap peer that was lost is joined again, as another service with an empty
// table.
func TestJoinAgainAfterARestart(t *testing.T) {
	identity, _ := newIdentity(t)
	h := dhttest.Host(t, identity)
	info := infoOf(h)
	bootstrap, err := New(h)
	require.NoError(t, err)
	member := newService(t, dhttest.Host(t), quick())
	require.NoError(t, member.Join(t.Context(), info))
	eventually(t, knows(member, h), "joined")
	require.NoError(t, bootstrap.Close())
	require.NoError(t, h.Close())

	again := newService(t, dhttest.Host(t, identity, libp2p.ListenAddrs(info.Addrs...)))
	eventually(t, knows(again, member.host), "the restarted peer knows us again")
}

// A bootstrap peer of another realm is no peer that was not reached.
func TestJoinOfAnotherRealm(t *testing.T) {
	theirs := newService(t, dhttest.Host(t), WithRealm("theirs"))
	var log logBook
	ours := newService(t, dhttest.Host(t), quick(), WithRealm("ours"), WithLogger(log.logger()))
	_, absent := newIdentity(t)
	never := peer.AddrInfo{ID: absent, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/9/quic-v1")}}
	require.Empty(t, ours.Bootstrap())
	require.NoError(t, ours.Join(t.Context(), infoOf(theirs.host), never))
	eventually(t, func() bool { return ours.Bootstrap()[0].State == BootstrapOtherRealm }, "said so")
	status := ours.Bootstrap()
	require.Equal(t, infoOf(theirs.host), status[0].Peer)
	require.ErrorIs(t, status[0].Err, ErrRealmMismatch)
	require.ErrorContains(t, status[0].Err, `"theirs"`)
	require.ErrorContains(t, status[0].Err, `"ours"`)
	require.WithinDuration(t, time.Now(), status[0].Since, time.Minute)
	require.Equal(t, BootstrapTrying, status[1].State)
	eventually(t, func() bool { return log.count("bootstrap peer serves another realm") == 1 }, "and the log does")
	require.Zero(t, log.count(`"bootstrap peer not reached" peer=`+theirs.host.ID().String()))
	require.False(t, hasJoined(ours))

	same := newService(t, dhttest.Host(t), WithRealm("ours"))
	require.NoError(t, ours.Join(t.Context(), infoOf(same.host)))
	require.NoError(t, ours.Join(t.Context(), infoOf(same.host)), "once more is no other")
	joined(t, ours)
	require.Len(t, ours.Bootstrap(), 3)
	require.Equal(t, BootstrapJoined, ours.Bootstrap()[2].State)
	require.NoError(t, ours.Bootstrap()[2].Err)
}

// A bootstrap peer that is given up is not dialled any more.
func TestUnjoin(t *testing.T) {
	t.Parallel()
	_, absent := newIdentity(t)
	never := peer.AddrInfo{ID: absent, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/9/quic-v1")}}
	var log logBook
	impatient := libp2p.SwarmOpts(swarm.WithDialTimeout(50 * time.Millisecond))
	s := newService(t, dhttest.Host(t, impatient), quick(), WithLogger(log.logger()))
	tries := func() int { return log.count(`"bootstrap peer not reached" peer=` + absent.String()) }
	require.NoError(t, s.Join(t.Context(), never))
	eventually(t, func() bool { return tries() >= 2 }, "it is tried")
	require.True(t, s.Unjoin(absent))
	require.False(t, s.Unjoin(absent), "once")
	require.Empty(t, s.Bootstrap())
	before := tries() + 1 // one may be under way
	require.Never(t, func() bool { return tries() > before }, time.Second, 50*time.Millisecond, "the time of four tries")

	require.NoError(t, s.Join(t.Context(), never))
	eventually(t, func() bool { return tries() > before }, "joined anew")
}

// A request's context that ends does not take the node out of its network.
func TestContextOnlyStarts(t *testing.T) {
	identity, _ := newIdentity(t)
	h := dhttest.Host(t, identity)
	info := infoOf(h)
	require.NoError(t, h.Close())
	s := newService(t, dhttest.Host(t), quick())
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, s.Join(ctx, info))
	const ttl = 2 * time.Second
	a, err := s.AdvertiseService(ctx, Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080", TTL: ttl})
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, s.Join(ctx, info), context.Canceled)
	_, err = s.AdvertiseService(ctx, Offer{Name: "another", Endpoint: "https://127.0.0.1:8080"})
	require.ErrorIs(t, err, context.Canceled)

	newService(t, dhttest.Host(t, identity, libp2p.ListenAddrs(info.Addrs...)))
	joined(t, s)
	published(t, a)
}

func TestJoinAfterClose(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Join(t.Context()), proto.ErrClosed)
	require.ErrorIs(t, s.Join(t.Context(), infoOf(s.host)), proto.ErrClosed)
}

func TestJoinOfNobody(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	require.ErrorIs(t, s.Join(t.Context(), peer.AddrInfo{}), ErrInvalidRequest)
	require.NoError(t, s.Join(t.Context(), infoOf(s.host)), "one list for all nodes names each of them")
	require.Empty(t, s.Bootstrap())
}

// hostInBucket returns a host that lies in a bucket of self's table.
func hostInBucket(t *testing.T, self host.Host, bucket int) host.Host {
	t.Helper()
	for {
		identity, id := newIdentity(t)
		if routing.IDFromPeer(self.ID()).CommonPrefixLen(routing.IDFromPeer(id)) == bucket {
			return dhttest.Host(t, identity)
		}
	}
}

func TestFullBucket(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		oldestLives bool
	}{
		"the oldest lives and stays":                {true},
		"the oldest is dead and gives its place up": {false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := dhttest.Host(t)
			srv, err := routing.NewServer(routing.IDFromPeer(h.ID()), routing.WithBucketSize(1))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, srv.Close()) })
			s := newService(t, h, quick(), WithRoutingServer(srv))

			oldest := newService(t, hostInBucket(t, h, 0))
			dhttest.Connect(t, oldest.host, h)
			eventually(t, knows(s, oldest.host), "the first has the place")
			if !test.oldestLives {
				require.NoError(t, oldest.Close())
				require.NoError(t, oldest.host.Close())
			}
			newcomer := newService(t, hostInBucket(t, h, 0))
			dhttest.Connect(t, newcomer.host, h)
			if !test.oldestLives {
				eventually(t, knows(s, newcomer.host), "the newcomer has its place")
				require.False(t, knows(s, oldest.host)())
				return
			}
			eventually(t, knows(newcomer, h), "the newcomer was answered")
			pinged := oldest.Handlers().Mux().Stats().Frames
			eventually(t, func() bool { return oldest.Handlers().Mux().Stats().Frames >= pinged+3 }, "the oldest is asked for signs of life")
			require.True(t, knows(s, oldest.host)(), "who lives is not pushed out")
			require.False(t, knows(s, newcomer.host)())

			require.NoError(t, oldest.Close())
			require.NoError(t, oldest.host.Close())
			eventually(t, knows(s, newcomer.host), "the newcomer waited for the place")
		})
	}
}

// A bootstrap peer that has to wait for a place is no reason to fill the table
// again and again.
func TestJoinOnceThroughAPeerThatWaits(t *testing.T) {
	t.Parallel()
	h := dhttest.Host(t)
	srv, err := routing.NewServer(routing.IDFromPeer(h.ID()), routing.WithBucketSize(1))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	var log logBook
	s := newService(t, h, quick(), WithRoutingServer(srv), WithLogger(log.logger()))
	member := newService(t, hostInBucket(t, h, 0))
	dhttest.Connect(t, member.host, h)
	eventually(t, knows(s, member.host), "the place is taken")

	bootstrap := newService(t, hostInBucket(t, h, 0))
	require.NoError(t, s.Join(t.Context(), infoOf(bootstrap.host)))
	joined(t, s)
	seen := bootstrap.Handlers().Mux().Stats().Frames
	eventually(t, func() bool { return bootstrap.Handlers().Mux().Stats().Frames > seen+10 }, "it is seen to that it is known")
	require.False(t, knows(s, bootstrap.host)())
	require.Equal(t, 1, log.count("joined the network"))
}

// A closed connection takes nobody out of the table.
func TestTableIsNotTheListOfConnections(t *testing.T) {
	services := chain(t, 2)
	a, b := services[0], services[1]
	require.NoError(t, a.host.Network().ClosePeer(b.host.ID()))
	eventually(t, func() bool { return b.host.Network().Connectedness(a.host.ID()) == network.NotConnected }, "closed")
	require.True(t, knows(a, b.host)())
	require.True(t, knows(b, a.host)())
	_, err := client.Ping(dhttest.Context(t), a.router, dhttest.Contact(b.host))
	require.NoError(t, err)
}

// cut is a network that can fall into two halves.
type cut struct {
	open atomic.Bool // the halves do not reach each other
	half map[peer.ID]bool
}

// gater lets a host of one half connect to the others while the cut allows.
type gater struct {
	*cut
	left bool
}

func (g gater) allows(p peer.ID) bool { return !g.open.Load() || g.half[p] == g.left }

func (g gater) InterceptPeerDial(p peer.ID) bool                                { return g.allows(p) }
func (g gater) InterceptAddrDial(p peer.ID, _ ma.Multiaddr) bool                { return g.allows(p) }
func (g gater) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
func (g gater) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.allows(p)
}

// Two halves of a network that lose each other forget each other, and find
// together again, with what was stored in each.
func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	const half = 3
	network := &cut{half: make(map[peer.ID]bool)}
	services := make([]*Service, 2*half)
	for i := range services {
		identity, id := newIdentity(t)
		left := i < half
		network.half[id] = left
		h := dhttest.Host(t, identity, libp2p.ConnectionGater(gater{network, left}))
		services[i] = newService(t, h, quick())
	}
	left, right := services[:half], services[half:]
	for _, s := range services[1:] {
		require.NoError(t, s.Join(t.Context(), infoOf(left[0].host), infoOf(right[0].host)))
	}
	all := func(of []*Service, know []*Service, want bool) func() bool {
		return func() bool {
			for _, a := range of {
				for _, b := range know {
					if a != b && knows(a, b.host)() != want {
						return false
					}
				}
			}
			return true
		}
	}
	eventually(t, all(services, services, true), "everyone knows everyone")

	network.open.Store(true)
	for _, a := range left {
		for _, b := range right {
			require.NoError(t, a.host.Network().ClosePeer(b.host.ID()))
			require.NoError(t, b.host.Network().ClosePeer(a.host.ID()))
		}
	}
	eventually(t, all(left, right, false), "the left half has given the right one up")
	eventually(t, all(right, left, false), "the right half has given the left one up")
	require.True(t, all(left, left, true)(), "each half stays together")
	require.True(t, all(right, right, true)())
	_, err := left[0].Store(dhttest.Context(t), keyOf("left"), dhttest.Value("l"))
	require.NoError(t, err)
	_, err = right[0].Store(dhttest.Context(t), keyOf("right"), dhttest.Value("r"))
	require.NoError(t, err)
	_, err = left[1].FindValues(dhttest.Context(t), keyOf("right"))
	require.ErrorIs(t, err, ErrNotFound)

	network.open.Store(false)
	eventually(t, all(services, services, true), "everyone knows everyone again")
	for _, s := range services {
		for _, key := range []string{"left", "right"} {
			found, err := s.FindValues(dhttest.Context(t), keyOf(key))
			require.NoError(t, err)
			require.Len(t, found.Values, 1)
		}
	}
}

// What is stored here goes to a newcomer that is nearer, no longer than it lives.
func TestHandOverToANewcomer(t *testing.T) {
	services := chain(t, 2)
	holder := newService(t, dhttest.Host(t), handOverAtOnce())
	dhttest.Connect(t, holder.host, services[0].host)
	eventually(t, knows(holder, services[0].host), "admitted")
	key := keyOf("greeter")
	value := dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(30)})
	copied := procedures.StoreArgs{Key: key, Value: value, ExpiresIn: wire.Some(int64(20))}
	require.NoError(t, client.Put(dhttest.Context(t), services[0].router, dhttest.Contact(holder.host), copied))

	newcomer := newService(t, dhttest.Host(t))
	dhttest.Connect(t, newcomer.host, holder.host)
	eventually(t, func() bool { _, err := newcomer.Handlers().LookupValue(t.Context(), key); return err == nil }, "handed over")
	records, err := newcomer.Routing().Records().Values(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, []byte(value), records[0].Value)
	require.LessOrEqual(t, time.Until(records[0].Expires), 20*time.Second, "what is left of its life, not its ttl")
	require.False(t, records[0].Owned, "a copy belongs to nobody")
	eventually(t, func() bool { return holder.Upkeep().Stats().HandedOver > 0 }, "counted")
}
