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
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func knows(s *Service, h host.Host) func() bool {
	return func() bool {
		_, ok := s.Routing().Contact(routing.IDFromPeer(h.ID()))
		return ok
	}
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, what)
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
	a, b := newHost(t), newHost(t)
	sa := newService(t, a, WithHandlers(HandleEndpoint(func() string { return "https://192.0.2.1:1" })))
	sb := newService(t, b)
	connect(t, a, b)
	eventually(t, knows(sa, b), "by its PONG")
	eventually(t, knows(sb, a), "by its CONNECT")

	contact, _ := sb.Routing().Contact(routing.IDFromPeer(a.ID()))
	require.Equal(t, a.ID(), contact.Peer)
	require.Equal(t, nodeIDOf(a), contact.NodeID)
	require.Equal(t, "https://192.0.2.1:1", contact.Endpoint)
	require.Equal(t, a.Addrs(), contact.Addrs)
	require.True(t, contact.Verified)
	require.WithinDuration(t, time.Now(), contact.LastSeen, time.Minute)
	contact, _ = sa.Routing().Contact(routing.IDFromPeer(b.ID()))
	require.Equal(t, b.Addrs(), contact.Addrs)

	// Others are told of it with its addresses.
	asker := newClient(t, newHost(t))
	nodes, err := FindNode(testContext(t), asker, contactTo(b), nodeIDOf(a))
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	require.Equal(t, nodeIDOf(a), nodes[0].ID)
	require.Equal(t, "https://192.0.2.1:1", nodes[0].Address)
	info := routing.PeerOf(nodes[0])
	require.Equal(t, a.ID(), info.ID)
	require.Equal(t, a.Addrs(), info.Addrs)
}

// The table is not the list of connections.
func TestAdmissionOutlivesTheConnection(t *testing.T) {
	a, b := newHost(t), newHost(t)
	sa, sb := newService(t, a), newService(t, b)
	connect(t, a, b)
	eventually(t, knows(sb, a), "connected")
	eventually(t, knows(sa, b), "connected")
	require.NoError(t, a.Network().ClosePeer(b.ID()))
	eventually(t, func() bool {
		sb.mu.Lock()
		defer sb.mu.Unlock()
		return len(sb.sessions) == 0
	}, "its session ended")
	require.True(t, knows(sb, a)())
	require.True(t, knows(sa, b)())

	// Whoever has forgotten the other is told anew by the next connection.
	sb.Routing().Forget(routing.IDFromPeer(a.ID()))
	connect(t, a, b)
	eventually(t, knows(sb, a), "connected again")
}

// A peer that only asks is no contact, whatever it says of itself.
func TestAdmissionNeedsTheProtocol(t *testing.T) {
	server, asker := newHost(t), newHost(t)
	s := newService(t, server)
	client := newClient(t, asker)
	_, err := client.Query(testContext(t), contactTo(server), &wire.Connect{NodeID: nodeIDOf(asker), RealmID: DefaultRealm})
	require.NoError(t, err)
	_, err = Ping(testContext(t), client, contactTo(server))
	require.NoError(t, err)
	require.Empty(t, s.Routing().Contacts())

	// Its CONNECT counts from when it speaks the protocol.
	newService(t, asker)
	eventually(t, knows(s, asker), "told by identify")
}

func TestAdmissionOfAnotherRealm(t *testing.T) {
	a, b := newHost(t), newHost(t)
	var log logBook
	sa := newService(t, a, WithRealm("one"), WithLogger(log.logger()))
	var logB logBook
	sb := newService(t, b, WithRealm("two"), WithLogger(logB.logger()))
	connect(t, a, b)
	eventually(t, log.has("realm_mismatch"), "the initiator says so")
	eventually(t, logB.has("realm_mismatch"), "and so does the other")
	require.Empty(t, sa.Routing().Contacts())
	require.Empty(t, sb.Routing().Contacts())
	require.Equal(t, "one", sa.Realm())
}

// A peer that answers CONNECT with what is not its own is not admitted.
func TestAdmissionChecksThePong(t *testing.T) {
	tests := []struct {
		name string
		pong func(server host.Host) wire.Message
		want string
	}{
		{"another realm", func(h host.Host) wire.Message { return &wire.Pong{NodeID: nodeIDOf(h), RealmID: "x"} }, "serves the realm"},
		{"no realm", func(h host.Host) wire.Message { return &wire.Pong{NodeID: nodeIDOf(h)} }, "serves the realm"},
		{"another's node id", func(host.Host) wire.Message { return &wire.Pong{NodeID: []byte("x"), RealmID: DefaultRealm} }, "node id"},
		{"no pong", func(host.Host) wire.Message { return &wire.FindNodeReply{} }, "answered by"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, b := newHost(t), newHost(t)
			script(t, b, func(_ int, s *scripted) {
				s.next()
				s.reply(test.pong(b))
				s.next()
			})
			var log logBook
			s := newService(t, a, WithLogger(log.logger()))
			connect(t, a, b)
			eventually(t, log.has(test.want), "the log says why")
			require.Empty(t, s.Routing().Contacts())
		})
	}
}

// A peer that stops speaking the protocol is forgotten; when it does again it
// knows nobody, so it is told anew over the same connection.
func TestAdmissionFollowsTheProtocol(t *testing.T) {
	a, b := newHost(t), newHost(t)
	sa := newService(t, a)
	sb, err := New(b)
	require.NoError(t, err)
	connect(t, a, b)
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
	a, b := newHost(t), newHost(t)
	connect(t, a, b)
	sb := newService(t, b)
	sa := newService(t, a)
	eventually(t, knows(sa, b), "by the initiator")
	eventually(t, knows(sb, a), "by the other")
}

func TestNewChecksTheRoutingServer(t *testing.T) {
	server, err := routing.NewServer(routing.ID{1})
	require.NoError(t, err)
	defer server.Close()
	_, err = New(newHost(t), WithRouting(server))
	require.ErrorContains(t, err, "routing server has the id")

	h := newHost(t)
	own, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	require.NoError(t, err)
	s, err := New(h, WithRouting(own))
	require.NoError(t, err)
	require.Same(t, own, s.Routing())
	require.NoError(t, s.Close())
	require.NoError(t, own.Close(), "stays its caller's to close")
}

func TestListGateways(t *testing.T) {
	h := newHost(t)
	s := newService(t, h, WithHandlers(HandleEndpoint(func() string { return "https://192.0.2.1:9443" })))
	own := wire.Gateway{NodeID: nodeIDOf(h), Host: "192.0.2.1", Port: 9443, Realm: DefaultRealm}
	other := wire.Gateway{NodeID: []byte("other"), Host: "192.0.2.2", Port: 9443, Realm: DefaultRealm, RegisteredAt: wire.Some[int64](5)}
	elsewhere := wire.Gateway{NodeID: []byte("far"), Host: "192.0.2.3", Port: 9443, Realm: "elsewhere"}
	register := func(g wire.Gateway) {
		peers, _ := wire.GatewayList{g}.Raw().Field("peers")
		for entry := range peers.Elems() {
			require.NoError(t, s.store(append([]byte(wire.GatewayPrefix), g.NodeID...), entry, 0, Origin{}, Dialect{}))
		}
	}
	register(other)
	register(elsewhere)
	require.NoError(t, s.Routing().Admit(routing.Contact{ID: routing.ID{7}, NodeID: []byte("contact"), Endpoint: "https://192.0.2.4:1", Verified: true}))
	contact := wire.Gateway{NodeID: []byte("contact"), Host: "192.0.2.4", Port: 1, Realm: DefaultRealm}

	list, err := ListGateways(testContext(t), newClient(t, newHost(t)), contactTo(h))
	require.NoError(t, err)
	require.Equal(t, own, list[0])
	require.ElementsMatch(t, wire.GatewayList{own, other, contact}, list)

	// On a stream that has CONNECTed, where that counts, each once and never us.
	c := &serving{Handlers: s.Handlers, Session: &Session{Dialect: Dialect{GatewaysOnce: true}}}
	require.ElementsMatch(t, wire.GatewayList{own, other, contact}, c.listGateways())
	c.connected = true
	require.ElementsMatch(t, wire.GatewayList{other, contact}, c.listGateways())
	require.Empty(t, c.listGateways())
	late := wire.Gateway{NodeID: []byte("late"), Host: "192.0.2.5", Port: 9443, Realm: DefaultRealm}
	register(late)
	require.Equal(t, wire.GatewayList{late}, c.listGateways())

	// Neither by another name, nor ourselves under another address.
	for _, g := range []wire.Gateway{
		{NodeID: []byte("late 2"), Host: "192.0.2.5", Port: 9443},
		{NodeID: []byte("late"), Host: "192.0.2.77", Port: 9443},
		{NodeID: nodeIDOf(h), Host: "192.0.2.78", Port: 9443},
		{NodeID: []byte("us 1"), Host: "192.0.2.1", Port: 9443},
		{NodeID: []byte("us 2"), Host: "::ffff:192.0.2.1", Port: 9443},
		{NodeID: []byte("us 3"), Host: addrPortOf(h.Addrs()[0]).Addr().String(), Port: int64(addrPortOf(h.Addrs()[0]).Port())},
	} {
		g.Realm = DefaultRealm
		register(g)
	}
	require.Empty(t, c.listGateways())
	for i, host := range []string{"node.example", "Node.Example", "node.example."} {
		register(wire.Gateway{NodeID: []byte{'n', byte(i)}, Host: host, Port: 9443, Realm: DefaultRealm})
	}
	require.Len(t, c.listGateways(), 1, "three spellings of one")

	for i := range 2 * maxNamed {
		g := wire.Gateway{NodeID: []byte{'g', byte(i >> 8), byte(i)}, Host: "192.0.2.6", Port: int64(i + 1), Realm: DefaultRealm}
		register(g)
		if i%MaxGateways == 0 {
			require.LessOrEqual(t, len(c.listGateways()), MaxGateways)
		}
	}
	for range 3 * maxNamed / MaxGateways {
		c.listGateways()
	}
	require.Empty(t, c.listGateways())
	require.LessOrEqual(t, len(c.named), 2*(maxNamed+MaxGateways), "what a stream remembers is limited")
}
