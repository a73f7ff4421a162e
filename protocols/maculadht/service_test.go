package maculadht

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

func knows(s *Service, h host.Host) func() bool {
	return func() bool {
		_, ok := s.Routing().Contact(routing.IDFromPeer(h.ID()))
		return ok
	}
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, dhttest.Patience, time.Millisecond, what)
}

// logBook is a log that a test can read while it is written.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBook) has(text string) func() bool {
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return strings.Contains(b.buf.String(), text)
	}
}

func (b *logBook) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), text)
}

func (b *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestAdmissionIsMutual(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	sa := newService(t, a, WithHandlers(dht.WithEndpoint(func() string { return "https://192.0.2.1:1" })))
	sb := newService(t, b)
	dhttest.Connect(t, a, b)
	eventually(t, knows(sa, b), "by its PONG")
	eventually(t, knows(sb, a), "by its CONNECT")
	located := func(s *Service, h host.Host) func() bool {
		return func() bool {
			c, _ := s.Routing().Contact(routing.IDFromPeer(h.ID()))
			return len(c.Addrs) > 0
		}
	}
	eventually(t, located(sb, a), "identify has told where it is")
	eventually(t, located(sa, b), "identify has told where it is")

	contact, _ := sb.Routing().Contact(routing.IDFromPeer(a.ID()))
	require.Equal(t, a.ID(), contact.Peer)
	require.Equal(t, dhttest.NodeID(a), contact.NodeID)
	require.Equal(t, "https://192.0.2.1:1", contact.Endpoint)
	require.Equal(t, a.Addrs(), contact.Addrs)
	require.True(t, contact.Verified)
	require.WithinDuration(t, time.Now(), contact.LastSeen, time.Minute)
	contact, _ = sa.Routing().Contact(routing.IDFromPeer(b.ID()))
	require.Equal(t, b.Addrs(), contact.Addrs)

	// Others are told of it with its addresses.
	asker := newClient(t, dhttest.Host(t))
	nodes, err := client.FindNode(dhttest.Context(t), asker, dhttest.Contact(b), dhttest.NodeID(a))
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	require.Equal(t, dhttest.NodeID(a), nodes[0].ID)
	require.Equal(t, "https://192.0.2.1:1", nodes[0].Address)
	info := addressing.PeerOf(nodes[0])
	require.Equal(t, a.ID(), info.ID)
	require.Equal(t, a.Addrs(), info.Addrs)
}

// The table is not the list of connections.
func TestAdmissionOutlivesTheConnection(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	sa, sb := newService(t, a), newService(t, b)
	dhttest.Connect(t, a, b)
	eventually(t, knows(sb, a), "connected")
	eventually(t, knows(sa, b), "connected")
	require.NoError(t, a.Network().ClosePeer(b.ID()))
	eventually(t, func() bool { return sb.admission.Sessions() == 0 }, "its session ended")
	require.True(t, knows(sb, a)())
	require.True(t, knows(sa, b)())

	// Whoever has forgotten the other is told anew by the next connection.
	sb.Routing().Forget(routing.IDFromPeer(a.ID()))
	dhttest.Connect(t, a, b)
	eventually(t, knows(sb, a), "connected again")
}

// A peer that only asks is no contact, whatever it says of itself.
func TestAdmissionNeedsTheProtocol(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv)
	cl := newClient(t, asker)
	_, err := cl.Query(dhttest.Context(t), dhttest.Contact(srv), &wire.Connect{NodeID: dhttest.NodeID(asker), RealmID: proto.DefaultRealm})
	require.NoError(t, err)
	_, err = client.Ping(dhttest.Context(t), cl, dhttest.Contact(srv))
	require.NoError(t, err)
	require.Empty(t, s.Routing().Contacts())

	// Its CONNECT counts from when it speaks the protocol.
	newService(t, asker)
	eventually(t, knows(s, asker), "told by identify")
}

func TestAdmissionOfAnotherRealm(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	var log logBook
	sa := newService(t, a, WithRealm("one"), WithLogger(log.logger()))
	var logB logBook
	sb := newService(t, b, WithRealm("two"), WithLogger(logB.logger()))
	dhttest.Connect(t, a, b)
	eventually(t, log.has("realm_mismatch"), "the initiator says so")
	eventually(t, logB.has("realm_mismatch"), "and so does the other")
	require.True(t, log.has("peer turned away")() || logB.has("peer turned away")())
	require.False(t, log.has("turned away: ")() || logB.has("turned away: ")(), "said once")
	require.Empty(t, sa.Routing().Contacts())
	require.Empty(t, sb.Routing().Contacts())
	require.Equal(t, "one", sa.Handlers().Realm())
}

// A peer that answers CONNECT with what is not its own is not admitted.
func TestAdmissionChecksThePong(t *testing.T) {
	tests := []struct {
		name string
		pong func(srv host.Host) wire.Message
		want string
	}{
		{"another realm", func(h host.Host) wire.Message { return &wire.Pong{NodeID: dhttest.NodeID(h), RealmID: "x"} }, "serves the realm"},
		{"no realm", func(h host.Host) wire.Message { return &wire.Pong{NodeID: dhttest.NodeID(h)} }, "serves the realm"},
		{"another's node id", func(host.Host) wire.Message { return &wire.Pong{NodeID: []byte("x"), RealmID: proto.DefaultRealm} }, "node id"},
		{"no pong", func(host.Host) wire.Message { return &wire.FindNodeReply{} }, "answered by"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, b := dhttest.Host(t), dhttest.Host(t)
			dhttest.Script(t, b, func(_ int, s *dhttest.Scripted) {
				s.Next()
				s.Reply(test.pong(b))
				s.Next()
			})
			var log logBook
			s := newService(t, a, WithLogger(log.logger()))
			dhttest.Connect(t, a, b)
			eventually(t, log.has(test.want), "the log says why")
			require.Empty(t, s.Routing().Contacts())
		})
	}
}

// A peer that stops speaking the protocol is forgotten; when it does again it
// knows nobody, so it is told anew over the same connection.
func TestAdmissionFollowsTheProtocol(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	sa := newService(t, a)
	sb, err := New(b)
	require.NoError(t, err)
	dhttest.Connect(t, a, b)
	eventually(t, knows(sa, b), "speaks")
	require.NoError(t, sb.Close())
	eventually(t, func() bool { return !knows(sa, b)() }, "speaks no more")
	require.Equal(t, network.Connected, a.Network().Connectedness(b.ID()))

	sb = newService(t, b)
	eventually(t, knows(sa, b), "speaks again")
	eventually(t, knows(sb, a), "and was told")
}

// Connections from before the service are introduced too.
func TestAdmissionOfEarlierConnections(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	dhttest.Connect(t, a, b)
	sb := newService(t, b)
	sa := newService(t, a)
	eventually(t, knows(sa, b), "by the initiator")
	eventually(t, knows(sb, a), "by the other")
}

func TestNewChecksTheRoutingServer(t *testing.T) {
	srv, err := routing.NewServer(routing.ID{1})
	require.NoError(t, err)
	defer srv.Close()
	_, err = New(dhttest.Host(t), WithRoutingServer(srv))
	require.ErrorContains(t, err, "routing server has the id")

	h := dhttest.Host(t)
	own, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	require.NoError(t, err)
	s, err := New(h, WithRoutingServer(own))
	require.NoError(t, err)
	require.Same(t, own, s.Routing())
	require.NoError(t, s.Close())
	require.NoError(t, own.Close(), "stays its caller's to close")

	_, err = New(h, WithRoutingServer(own), WithRouting(routing.WithBucketSize(1)))
	require.ErrorContains(t, err, "options of a routing server", "they would have no effect")
}
