package maculadht

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// A peer does not have Erlang nodes, which dial what they are told of, sent to
// somebody else.
func TestGatewaysOfPeersAreWhereTheyWereSeen(t *testing.T) {
	tests := map[string]struct {
		endpoint string
		listed   bool
	}{
		"at its own address": {"https://127.0.0.1:9443", true},
		"at somebody else's": {"https://127.0.0.9:9443", false},
		"at a name":          {"https://victim.example.org:9443", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newService(t, dhttest.Host(t))
			h := dhttest.Host(t)
			newService(t, h, WithHandlers(dht.WithEndpoint(func() string { return test.endpoint })))
			dhttest.Connect(t, h, s.host)
			eventually(t, knows(s, h), "admitted")
			c, _ := s.Routing().Contact(routing.IDFromPeer(h.ID()))
			require.Equal(t, test.endpoint, c.Endpoint, "it is kept, and told to libp2p peers")

			list, err := client.ListGateways(dhttest.Context(t), newClient(t, dhttest.Host(t)), dhttest.Contact(s.host))
			require.NoError(t, err)
			require.Equal(t, test.listed, len(list) == 1, list)
		})
	}
}

// A node learns its public address long after it has joined; identify tells its
// peers then, and their tables, and so their FIND_NODE replies, follow.
func TestAddressesOfAContactFollowIdentify(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	newService(t, a)
	sb := newService(t, b)
	dhttest.Connect(t, a, b)
	eventually(t, knows(sb, a), "admitted")

	require.NoError(t, a.Network().Listen(ma.StringCast("/ip4/127.0.0.2/udp/0/quic-v1"))) // its second address
	eventually(t, func() bool {
		c, _ := sb.Routing().Contact(routing.IDFromPeer(a.ID()))
		return len(a.Addrs()) == 2 && slices.ContainsFunc(c.Addrs, a.Addrs()[0].Equal) && slices.ContainsFunc(c.Addrs, a.Addrs()[1].Equal)
	}, "in the table too")
}

// The same where the node knew none of its addresses when it joined, as any that
// is behind a NAT or in most clouds.
func TestWhoJoinedBeforeItKnewItsAddressIsReached(t *testing.T) {
	var known atomic.Bool
	a := dhttest.Host(t, libp2p.AddrsFactory(func(all []ma.Multiaddr) []ma.Multiaddr {
		if known.Load() {
			return all
		}
		return nil
	}))
	b, c := dhttest.Host(t), dhttest.Host(t)
	newService(t, a)
	sb, sc := newService(t, b), newService(t, c)
	dhttest.Connect(t, a, b)
	eventually(t, knows(sb, a), "admitted")
	contact, _ := sb.Routing().Contact(routing.IDFromPeer(a.ID()))
	require.Empty(t, contact.Addrs)
	known.Store(true) // from here on its address is known
	require.NoError(t, a.Network().Listen(ma.StringCast("/ip4/127.0.0.2/udp/0/quic-v1")))
	eventually(t, func() bool {
		contact, _ := sb.Routing().Contact(routing.IDFromPeer(a.ID()))
		return len(contact.Addrs) == 2
	}, "identify has told b")

	dhttest.Connect(t, c, b)
	eventually(t, knows(sc, b), "admitted")
	target := routing.IDFromPeer(a.ID())
	found, err := sc.FindNodes(dhttest.Context(t), target[:])
	require.NoError(t, err)
	require.Equal(t, a.ID(), found.Closest[0].Peer, "reached by c")
}

// What a CONNECT names beside what identify tells is somebody else's address, as
// far as is known, and would be dialled by all who are told of it.
func TestAddressesOfAConnectAreNotBelieved(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	liar := dhttest.Host(t)
	newService(t, liar)
	victim := ma.StringCast("/ip4/192.0.2.66/udp/53/quic-v1")
	_, err := newClient(t, liar).Query(dhttest.Context(t), dhttest.Contact(s.host), &wire.Connect{
		NodeID: dhttest.NodeID(liar), RealmID: proto.DefaultRealm, Addrs: addressing.EncodeAddrs([]ma.Multiaddr{victim})})
	require.NoError(t, err)
	eventually(t, knows(s, liar), "admitted")
	c, _ := s.Routing().Contact(routing.IDFromPeer(liar.ID()))
	require.Equal(t, liar.Addrs(), c.Addrs)
}

// An endpoint that changes is told to those who know this node, whoever made the
// connection.
func TestPeersAreToldOfANewEndpoint(t *testing.T) {
	t.Parallel()
	var endpoint atomic.Value
	endpoint.Store("https://192.0.2.1:1")
	moving := dhttest.Host(t)
	newService(t, moving, WithHandlers(dht.WithEndpoint(func() string { return endpoint.Load().(string) })))
	dialled, dialling := newService(t, dhttest.Host(t)), newService(t, dhttest.Host(t))
	dhttest.Connect(t, moving, dialled.host)
	dhttest.Connect(t, dialling.host, moving)
	at := func(s *Service, want string) func() bool {
		return func() bool {
			c, ok := s.Routing().Contact(routing.IDFromPeer(moving.ID()))
			return ok && c.Endpoint == want
		}
	}
	eventually(t, at(dialled, "https://192.0.2.1:1"), "by its CONNECT")
	eventually(t, at(dialling, "https://192.0.2.1:1"), "by its PONG")
	endpoint.Store("https://192.0.2.2:2")
	require.NoError(t, moving.Network().Listen(ma.StringCast("/ip4/127.0.0.2/udp/0/quic-v1")))
	eventually(t, at(dialled, "https://192.0.2.2:2"), "told again")
	eventually(t, at(dialling, "https://192.0.2.2:2"), "told again")
}

// A CONNECT that came to nothing is sent again over the same connection.
func TestAConnectThatFailedIsSentAgain(t *testing.T) {
	t.Parallel()
	a, b := dhttest.Host(t), dhttest.Host(t)
	tries := dhttest.Script(t, b, func(n int, s *dhttest.Scripted) {
		if n < 3 {
			s.ResetWithError(network.StreamErrorCode(proto.ResetRefused))
			return
		}
		if _, ok := s.Next().(*wire.Connect); ok {
			s.Reply(&wire.Pong{NodeID: dhttest.NodeID(b), RealmID: proto.DefaultRealm})
		}
		s.Next()
	})
	s := newService(t, a)
	dhttest.Connect(t, a, b)
	eventually(t, knows(s, b), "admitted in the end")
	require.EqualValues(t, 3, tries.Load())
	require.Len(t, a.Network().ConnsToPeer(b.ID()), 1)
}

// Who CONNECTs and speaks the protocol is a contact, be it that identify never said
// so: its answer and its push may come in the wrong order.
func TestWhoSpeaksIsAdmittedWhateverIdentifySaid(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	newService(t, a)
	sb := newService(t, b)
	dhttest.Connect(t, a, b)
	eventually(t, knows(sb, a), "admitted")
	emitter, err := b.EventBus().Emitter(new(event.EvtPeerIdentificationCompleted))
	require.NoError(t, err)
	defer emitter.Close()
	require.NoError(t, b.Peerstore().RemoveProtocols(a.ID(), proto.ProtocolID))
	require.NoError(t, emitter.Emit(event.EvtPeerIdentificationCompleted{Peer: a.ID(), Conn: b.Network().ConnsToPeer(a.ID())[0], ListenAddrs: a.Addrs()}))
	eventually(t, func() bool { return !knows(sb, a)() }, "said to be silent")
	eventually(t, knows(sb, a), "and found to speak")
}
