package maculadht

import (
	"errors"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// waitsFor reports whether s has taken the CONNECT of a peer that it does not list.
func waitsFor(s *Service, h host.Host) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		ps := s.sessions[h.ID()]
		return ps != nil && ps.connect != nil
	}
}

// A client learns contacts, finds and stores, and is nobody's contact.
func TestClientAsksAndIsNotListed(t *testing.T) {
	server, client := newHost(t), newHost(t)
	ss := newService(t, server)
	sc := newService(t, client, WithMode(ModeClient))
	require.Equal(t, ModeServer, ss.Mode())
	require.Equal(t, ModeClient, sc.Mode())
	require.NotContains(t, client.Mux().Protocols(), ProtocolID)

	connect(t, client, server)
	eventually(t, knows(sc, server), "its CONNECT is answered")
	eventually(t, waitsFor(ss, client), "and remembered")

	replicas, err := sc.Store(testContext(t), []byte("k"), valueOf("client"))
	require.NoError(t, err)
	require.Len(t, replicas.Acknowledged, 1)
	require.NoError(t, ss.store([]byte("other"), valueOf("server"), 0, Origin{}, Dialect{}))
	found, err := sc.FindValues(testContext(t), []byte("other"))
	require.NoError(t, err)
	require.Len(t, found.Values, 1)

	require.Empty(t, ss.Routing().Contacts())
	_, err = Ping(testContext(t), newClient(t, server), contactTo(client))
	require.ErrorIs(t, err, routing.ErrRefused, "it answers nobody")

	require.NoError(t, client.Network().ClosePeer(server.ID()))
	eventually(t, func() bool { return !waitsFor(ss, client)() }, "what is kept of it goes with the connection")
}

// Whoever made the connection, those that know a server hear that it is a
// client, and list it again when it is a server.
func TestServerBecomesClientAndServerAgain(t *testing.T) {
	for name, dial := range map[string]func(t *testing.T, changing, other host.Host){
		"dialled by the other": func(t *testing.T, changing, other host.Host) { connect(t, other, changing) },
		"of its own dialling":  func(t *testing.T, changing, other host.Host) { connect(t, changing, other) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newHost(t), newHost(t)
			sa, sb := newService(t, a), newService(t, b)
			dial(t, a, b)
			eventually(t, knows(sb, a), "connected")
			eventually(t, knows(sa, b), "connected")
			for range 3 {
				sa.SetMode(ModeClient)
				eventually(t, func() bool { return !knows(sb, a)() }, "a client is forgotten")
				require.True(t, knows(sa, b)(), "and forgets nobody")
				sa.SetMode(ModeServer)
				eventually(t, knows(sb, a), "a server is known")
			}

			for range 5 { // faster than anyone is told
				sa.SetMode(ModeClient)
				sa.SetMode(ModeServer)
			}
			settle(t, a, b)
			eventually(t, knows(sb, a), "a server in the end")
		})
	}
}

// settle waits until the service on other has seen all that h has told of its
// protocols.
func settle(t *testing.T, h, other host.Host) {
	t.Helper()
	const marker protocol.ID = "/test/settled"
	h.SetStreamHandler(marker, func(s network.Stream) { s.Reset() })
	eventually(t, func() bool {
		found, err := other.Peerstore().SupportsProtocols(h.ID(), marker)
		return err == nil && len(found) == 1
	}, "told")
	emitter, err := other.EventBus().Emitter(new(event.EvtPeerProtocolsUpdated))
	require.NoError(t, err)
	defer emitter.Close()
	for range 32 { // more than fit into the service's queue, so those before are out of it
		require.NoError(t, emitter.Emit(event.EvtPeerProtocolsUpdated{Peer: "nobody"}))
	}
}

// A client that has introduced itself is listed once it serves.
func TestClientBecomesServer(t *testing.T) {
	a, b := newHost(t), newHost(t)
	sa := newService(t, a, WithMode(ModeClient))
	sb := newService(t, b)
	connect(t, a, b)
	eventually(t, waitsFor(sb, a), "introduced")
	require.False(t, knows(sb, a)())
	sa.SetMode(ModeServer)
	require.Equal(t, ModeServer, sa.Mode())
	eventually(t, knows(sb, a), "told by identify")
	_, err := Ping(testContext(t), sb.Client(), contactTo(a))
	require.NoError(t, err)
}

// Streams that are being served end with it: their peers ask others.
func TestClientResetsItsStreams(t *testing.T) {
	server := newHost(t)
	s := newService(t, server)
	raw := openRaw(t, newHost(t), server)
	raw.ask(&wire.Ping{})
	s.SetMode(ModeClient)
	raw.requireReset(ResetShutdown)
}

// The kept streams of an asker do not hide that the protocol is gone.
func TestClientRefusesThoseThatAsked(t *testing.T) {
	server, asker := newHost(t), newHost(t)
	s := newService(t, server)
	client := newClient(t, asker)
	_, err := Ping(testContext(t), client, contactTo(server))
	require.NoError(t, err)
	s.SetMode(ModeClient)
	eventually(t, func() bool {
		_, err = Ping(testContext(t), client, contactTo(server))
		return errors.Is(err, routing.ErrRefused)
	}, "refused, not waited for")
	s.SetMode(ModeServer)
	eventually(t, func() bool {
		_, err = Ping(testContext(t), client, contactTo(server))
		return err == nil
	}, "served again")
}

func TestSetModeWhileClosing(t *testing.T) {
	h, other := newHost(t), newHost(t)
	newService(t, other)
	connect(t, h, other)
	s, err := New(h)
	require.NoError(t, err)
	var switching sync.WaitGroup
	started := make(chan struct{}, 4)
	for i := range 4 {
		switching.Go(func() {
			for j := range 50 {
				s.SetMode(Mode((i + j) % 2))
				if j == 5 {
					started <- struct{}{}
				}
			}
		})
	}
	<-started
	require.NoError(t, s.Close())
	switching.Wait()
	require.Equal(t, ModeClient, s.Mode())
	require.NotContains(t, h.Mux().Protocols(), ProtocolID)
	s.SetMode(ModeServer)
	require.NotContains(t, h.Mux().Protocols(), ProtocolID, "a closed service stays off the host")
}
