package maculadht

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// waitsFor reports whether s has taken the CONNECT of a peer that it does not list.
func waitsFor(s *Service, h host.Host) func() bool {
	return func() bool { return s.admission.Waits(h.ID()) }
}

// A client learns contacts, finds and stores, and is nobody's contact.
func TestClientAsksAndIsNotListed(t *testing.T) {
	srv, cl := dhttest.Host(t), dhttest.Host(t)
	ss := newService(t, srv)
	sc := newService(t, cl, WithMode(ModeClient))
	require.Equal(t, ModeServer, ss.Mode())
	require.Equal(t, ModeClient, sc.Mode())
	require.NotContains(t, cl.Mux().Protocols(), proto.ProtocolID)

	dhttest.Connect(t, cl, srv)
	eventually(t, knows(sc, srv), "its CONNECT is answered")
	eventually(t, waitsFor(ss, cl), "and remembered")

	replicas, err := sc.Store(dhttest.Context(t), []byte("k"), dhttest.Value("client"))
	require.NoError(t, err)
	require.Len(t, replicas.Acknowledged, 1)
	ss.Handlers().HandleStore(context.Background(), &wire.Store{Key: []byte("other"), Value: dhttest.Value("server")}, dht.Origin{}, server.Dialect{})
	found, err := sc.FindValues(dhttest.Context(t), []byte("other"))
	require.NoError(t, err)
	require.Len(t, found.Values, 1)

	require.Empty(t, ss.Routing().Contacts())
	_, err = client.Ping(dhttest.Context(t), newClient(t, srv), dhttest.Contact(cl))
	require.ErrorIs(t, err, proto.ErrRefused, "it answers nobody")

	require.NoError(t, cl.Network().ClosePeer(srv.ID()))
	eventually(t, func() bool { return !waitsFor(ss, cl)() }, "what is kept of it goes with the connection")
}

// Whoever made the connection, those that know a server hear that it is a
// client, and list it again when it is a server.
func TestServerBecomesClientAndServerAgain(t *testing.T) {
	for name, dial := range map[string]func(t *testing.T, changing, other host.Host){
		"dialled by the other": func(t *testing.T, changing, other host.Host) { dhttest.Connect(t, other, changing) },
		"of its own dialling":  func(t *testing.T, changing, other host.Host) { dhttest.Connect(t, changing, other) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := dhttest.Host(t), dhttest.Host(t)
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
	a, b := dhttest.Host(t), dhttest.Host(t)
	sa := newService(t, a, WithMode(ModeClient))
	sb := newService(t, b)
	dhttest.Connect(t, a, b)
	eventually(t, waitsFor(sb, a), "introduced")
	require.False(t, knows(sb, a)())
	sa.SetMode(ModeServer)
	require.Equal(t, ModeServer, sa.Mode())
	eventually(t, knows(sb, a), "told by identify")
	_, err := client.Ping(dhttest.Context(t), sb.Client(), dhttest.Contact(a))
	require.NoError(t, err)
}

// Streams that are being served end with it: their peers ask others.
func TestClientResetsItsStreams(t *testing.T) {
	srv := dhttest.Host(t)
	s := newService(t, srv)
	raw := dhttest.Open(t, dhttest.Host(t), srv)
	raw.Ask(&wire.Ping{})
	s.SetMode(ModeClient)
	raw.RequireReset(proto.ResetShutdown)
}

// The kept streams of an asker do not hide that the protocol is gone.
func TestClientRefusesThoseThatAsked(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv)
	cl := newClient(t, asker)
	_, err := client.Ping(dhttest.Context(t), cl, dhttest.Contact(srv))
	require.NoError(t, err)
	s.SetMode(ModeClient)
	eventually(t, func() bool {
		_, err = client.Ping(dhttest.Context(t), cl, dhttest.Contact(srv))
		return errors.Is(err, proto.ErrRefused)
	}, "refused, not waited for")
	s.SetMode(ModeServer)
	eventually(t, func() bool {
		_, err = client.Ping(dhttest.Context(t), cl, dhttest.Contact(srv))
		return err == nil
	}, "served again")
}

func TestSetModeWhileClosing(t *testing.T) {
	h, other := dhttest.Host(t), dhttest.Host(t)
	newService(t, other)
	dhttest.Connect(t, h, other)
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
	require.NotContains(t, h.Mux().Protocols(), proto.ProtocolID)
	s.SetMode(ModeServer)
	require.NotContains(t, h.Mux().Protocols(), proto.ProtocolID, "a closed service stays off the host")
}

// A second service does not take the protocol over.
func TestOneServerOnAHost(t *testing.T) {
	h := dhttest.Host(t)
	first, err := New(h)
	require.NoError(t, err)
	_, err = New(h)
	require.ErrorIs(t, err, ErrServed)
	cl := newService(t, h, WithMode(ModeClient))
	require.ErrorIs(t, cl.SetMode(ModeServer), ErrServed)
	require.Equal(t, ModeClient, cl.Mode())
	_, err = client.Ping(dhttest.Context(t), newClient(t, dhttest.Host(t)), dhttest.Contact(h))
	require.NoError(t, err, "the first serves")
	require.NoError(t, first.Close())
	require.NoError(t, cl.SetMode(ModeServer))
	_, err = client.Ping(dhttest.Context(t), newClient(t, dhttest.Host(t)), dhttest.Contact(h))
	require.NoError(t, err)
}
