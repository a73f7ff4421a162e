package peerhost

import (
	"io"
	"testing"
	"time"

	"github.com/macula-mesh/macula-node/node/internal/hosttest"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"
)

// Streams that kad-dht answered on end with its being a server.
func TestKadStreamsEnd(t *testing.T) {
	server, asker := startHost(t), startHost(t)
	id := hosttest.KadProtocols(server)[0]
	connect(t, asker, server)
	s, err := asker.NewStream(t.Context(), server.ID(), id)
	require.NoError(t, err)
	require.NoError(t, s.SetDeadline(time.Now().Add(2*patience)))
	ping := []byte{2, 0x08, 5} // its length, and a message whose type is PING
	_, err = s.Write(ping)
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, len(ping)))
	require.NoError(t, err, "answered")
	server.kadHost.setServer(false)
	_, err = io.ReadAll(s)
	require.ErrorIs(t, err, network.ErrReset)
	require.Empty(t, hosttest.KadProtocols(server))
	server.kadHost.setServer(true)
	require.Equal(t, []protocol.ID{id}, hosttest.KadProtocols(server))
}

// oneHandler is a host that only takes handlers.
type oneHandler struct {
	host.Host
	handler network.StreamHandler
}

func (h *oneHandler) SetStreamHandler(_ protocol.ID, handler network.StreamHandler) {
	h.handler = handler
}
func (h *oneHandler) RemoveStreamHandler(protocol.ID) { h.handler = nil }
func (h *oneHandler) Network() network.Network        { return noConns{} }

type noConns struct{ network.Network }

func (noConns) Conns() []network.Conn { return nil }

type lateStream struct {
	network.Stream
	reset bool
}

func (s *lateStream) Reset() error { s.reset = true; return nil }

// A stream whose protocol was agreed on before the handler was taken off may
// come to it only after.
func TestKadStreamComesLate(t *testing.T) {
	under := &oneHandler{}
	answered := 0
	h := &kadHost{Host: under, handlers: map[protocol.ID]network.StreamHandler{}}
	h.SetStreamHandler("/kad", func(network.Stream) { answered++ })
	require.Nil(t, under.handler, "a client")
	h.setServer(true)
	late := under.handler
	late(&lateStream{})
	require.Equal(t, 1, answered)
	h.setServer(false)
	require.Nil(t, under.handler)
	s := &lateStream{}
	late(s)
	require.Equal(t, 1, answered)
	require.True(t, s.reset)
	h.RemoveStreamHandler("/kad")
	h.setServer(true)
	require.Nil(t, under.handler)
}
