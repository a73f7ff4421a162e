package node

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func strict(c *Config) { c.Strict = true }

// ask asks over a stream of its own, as an Erlang node does for each of its lookups.
func ask(ctx context.Context, conn *quic.Conn, m wire.Message) (wire.Message, error) {
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	frame, err := framing.AppendFrame(nil, m)
	if err != nil {
		return nil, err
	}
	if _, err := s.Write(frame); err != nil {
		return nil, err
	}
	f, err := framing.NewReader(s).Next()
	if err != nil {
		return nil, err
	}
	return proto.ReadReply(f, m)
}

// storing is the CALL by which a value is stored.
func storing(key, name string) *wire.Call {
	args := procedures.StoreArgs{Key: []byte(key), Value: provider(name)}
	return &wire.Call{Procedure: wire.ProcedureStore, CallID: []byte("c"), Args: args.Raw()}
}

// appOn is a client on a host of its own.
func appOn(t *testing.T, opts ...client.Option) *client.Client {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	c, err := client.New(h, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// introducedTo has a client CONNECT in a realm where that is asked for.
func introducedTo(realm string) client.Option {
	return client.WithConnect(func(over network.Conn) *wire.Connect {
		id := routing.IDFromPeer(over.LocalPeer())
		return &wire.Connect{Version: wire.ProtocolVersion, NodeID: id[:], RealmID: realm}
	})
}

// Three strict nodes are one network, for an Erlang client too, and a stranger has nothing
// of it.
func TestStrictMesh(t *testing.T) {
	a := startNode(t, strict)
	b, c := startNode(t, strict, bootstrappedBy(a)), startNode(t, strict, bootstrappedBy(a))
	require.Eventually(t, func() bool {
		return a.knows(b) && a.knows(c) && b.knows(a) && b.knows(c) && c.knows(a) && c.knows(b)
	}, 4*patience, tick, "they find each other")
	require.Eventually(t, func() bool {
		return b.host.Kad.RoutingTable().Find(a.Host().ID()) != "" && a.host.Kad.RoutingTable().Find(c.Host().ID()) != ""
	}, 4*patience, tick, "in kad-dht, too")
	ctx := patient(t)

	erlang := hosttest.DialMacula(t, a.Endpoint()[len("https://"):])
	_, err := ask(ctx, erlang, storing("from Erlang", "erlang"))
	require.ErrorIs(t, err, proto.ErrConnectFirst)
	connectRaw(t, erlang, "https://127.0.0.1:1")
	_, err = ask(ctx, hosttest.DialMacula(t, a.Endpoint()[len("https://"):]), storing("from Erlang", "erlang"))
	require.NoError(t, err, "another connection from the address that has CONNECTed")
	require.Eventually(t, func() bool {
		found, err := c.Service().FindValues(ctx, []byte("from Erlang"))
		return err == nil && len(found.Values) == 1
	}, 2*patience, tick)

	_, err = c.Service().Store(ctx, []byte("from libp2p"), provider("libp2p"))
	require.NoError(t, err)
	reply, err := ask(ctx, hosttest.DialMacula(t, a.Endpoint()[len("https://"):]), &wire.FindValue{Key: []byte("from libp2p")})
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{provider("libp2p")}, reply.(*wire.FindValueReply).Values)

	requireNothingForStrangers(t, "a", a)
	requireNothingForStrangers(t, "c", c)

	// Who has CONNECTed in the realm is answered, though nobody lists him.
	to := routing.Contact{ID: a.ID(), Peer: a.Host().ID(), Addrs: a.Host().Addrs()}
	app := appOn(t, introducedTo(proto.DefaultRealm))
	_, err = client.Ping(ctx, app, to)
	require.NoError(t, err)
	found, err := client.FindValue(ctx, app, to, []byte("from libp2p"))
	require.NoError(t, err)
	require.Len(t, found.Values, 1)
}

// A gateway that a strict node keeps a session with asks over connections of its own too.
func TestStrictAnswersItsGateways(t *testing.T) {
	g := startGlass(t)
	n := startNode(t, strict, func(c *Config) { c.Bootstrap = []string{g.Endpoint()} })
	asks := func(ip string) error {
		conn, err := dialFrom(t, ip, n)
		require.NoError(t, err)
		_, err = ask(patient(t), conn, &wire.FindValue{Key: []byte("k")})
		return err
	}
	require.Eventually(t, func() bool { return len(n.Uplinks().Sessions()) == 1 }, 2*patience, tick, "a session")
	require.Eventually(t, func() bool { return asks("127.0.0.1") == nil }, patience, tick, "from the gateway's address")
	require.ErrorIs(t, asks("127.0.0.9"), proto.ErrConnectFirst, "from another")

	n.Uplinks().Close() // and the sessions with it
	require.ErrorIs(t, asks("127.0.0.1"), proto.ErrConnectFirst)
}

// requireNoKad asks a strict node in kad-dht, as a peer that has not CONNECTed.
func requireNoKad(t *testing.T, n *Node) {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport))
	require.NoError(t, err)
	defer h.Close()
	require.NoError(t, h.Connect(patient(t), peer.AddrInfo{ID: n.Host().ID(), Addrs: n.Host().Addrs()}))
	s, err := h.NewStream(patient(t), n.Host().ID(), kadProtocol)
	require.NoError(t, err)
	require.NoError(t, s.SetDeadline(time.Now().Add(2*patience)))
	_, err = s.Write([]byte{2, 8, 4}) // FIND_NODE, of nobody
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	var reset *network.StreamError
	require.ErrorAs(t, err, &reset)
	require.EqualValues(t, proto.ResetConnectFirst, reset.ErrorCode)
}

// requireNothingForStrangers asks a strict node as those do who have not CONNECTed.
func requireNothingForStrangers(t *testing.T, name string, n *Node) {
	t.Helper()
	ctx := patient(t)
	before := n.Service().Handlers().Mux().Stats()
	to := routing.Contact{ID: n.ID(), Peer: n.Host().ID(), Addrs: n.Host().Addrs()}
	key := []byte("from libp2p")

	stranger := appOn(t)
	_, err := client.FindValue(ctx, stranger, to, key)
	require.ErrorIs(t, err, proto.ErrConnectFirst, name)
	_, err = client.FindNode(ctx, stranger, to, key)
	require.ErrorIs(t, err, proto.ErrConnectFirst, name)
	require.ErrorIs(t, client.Put(ctx, stranger, to, procedures.StoreArgs{Key: key, Value: provider("stranger")}), proto.ErrConnectFirst, name)
	_, err = client.ListGateways(ctx, stranger, to)
	require.ErrorIs(t, err, proto.ErrConnectFirst, name)
	_, err = client.Ping(ctx, stranger, to)
	require.ErrorIs(t, err, proto.ErrConnectFirst, "%s: there is no word for it, so the stream ends with a code", name)

	requireNoKad(t, n)

	elsewhere := appOn(t, introducedTo("another"))
	_, err = client.FindValue(ctx, elsewhere, to, key)
	require.ErrorIs(t, err, proto.ErrRealmMismatch, name)

	erlang, err := dialFrom(t, "127.0.0.9", n)
	require.NoError(t, err)
	_, err = ask(ctx, erlang, &wire.FindValue{Key: key})
	require.ErrorIs(t, err, proto.ErrConnectFirst, name)
	_, err = ask(ctx, erlang, storing("k", "stranger"))
	require.ErrorIs(t, err, proto.ErrConnectFirst, name)
	_, err = ask(ctx, erlang, &wire.Ping{})
	var reset *quic.StreamError
	require.ErrorAs(t, err, &reset, name)
	require.EqualValues(t, proto.ResetConnectFirst, reset.ErrorCode)
	for _, procedure := range []string{wire.ProcedureListGateways, wire.ProcedurePeerInfo} {
		reply, err := ask(ctx, erlang, &wire.Call{Procedure: procedure, CallID: []byte("c")})
		require.NoError(t, err, "%s: %s", name, procedure)
		require.Nil(t, reply.(*wire.Reply).Error)
	}

	after := n.Service().Handlers().Mux().Stats()
	require.GreaterOrEqual(t, after.Unmet-before.Unmet, uint64(9), "%s counts what it refuses", name)
	require.EqualValues(t, 1, after.TurnedAway[wire.ReasonRealmMismatch]-before.TurnedAway[wire.ReasonRealmMismatch], name)
}
