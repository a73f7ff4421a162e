package client

import (
	"context"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func newClient(tb testing.TB, h host.Host, opts ...Option) *Client {
	tb.Helper()
	c, err := New(h, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}

// lanesOf returns to how many peers, and in how many ways, a client has streams.
func lanesOf(c *Client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lanes)
}

// serve answers the protocol on h.
func serve(tb testing.TB, h host.Host) *dht.Handlers {
	tb.Helper()
	handlers := newHandlers(tb, h)
	h.SetStreamHandler(proto.ProtocolID, func(s network.Stream) { serveStream(tb, handlers, s) })
	return handlers
}

func newHandlers(tb testing.TB, h host.Host) *dht.Handlers {
	tb.Helper()
	srv, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, srv.Close()) })
	mux, err := server.NewMux()
	require.NoError(tb, err)
	handlers, err := dht.New(mux, srv)
	require.NoError(tb, err)
	return handlers
}

func serveStream(tb testing.TB, h *dht.Handlers, s network.Stream) {
	p := s.Conn().RemotePeer()
	session := &server.Session{Dialect: server.LibP2P(), Peer: p}
	_ = h.Mux().Serve(tb.Context(), server.HostStream{Stream: s}, session) // how it ends is for the client's side to say
}

// store has handlers keep a value.
func store(h *dht.Handlers, key []byte, value []byte) {
	h.HandleStore(context.Background(), &wire.Store{Key: key, Value: value}, dht.Origin{}, server.LibP2P())
}
