package maculadht

import (
	"bytes"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// A peer that asks on 64 streams for long answers and reads none, over QUIC, holds
// no more than its account has, keeps nobody from an answer, and leaves nothing
// behind. libp2p's own limits are off: they would be met first.
func TestPeerThatNeverReads(t *testing.T) {
	const streams = 64
	unlimited := libp2p.ResourceManager(&network.NullResourceManager{})
	srv, hog, honest := dhttest.Host(t, unlimited), dhttest.Host(t, unlimited), dhttest.Host(t)
	s := newService(t, srv)
	long := dhttest.Value("p", wire.Pair{Key: "filler", Value: wire.RawBytes(make([]byte, 60_000))})
	s.Handlers().HandleStore(t.Context(), &wire.Store{Key: []byte("k"), Value: long}, dht.Origin{}, server.LibP2P())
	ask := &wire.FindValue{Key: []byte("k")}
	asks := bytes.Repeat(dhttest.Frames(t, ask), 1000)
	for range streams {
		stream := dhttest.Open(t, hog, srv)
		go stream.Write(asks)
	}
	held := func() int64 { return s.Handlers().Mux().Budget().Usage().Memory }
	eventually(t, func() bool { return held() > streams*48<<10 }, "all of its streams are stalled")
	require.LessOrEqual(t, held(), DefaultLimits().Accounts.Source.Memory)

	stream := dhttest.Open(t, honest, srv)
	for range 20 {
		require.NoError(t, stream.SetDeadline(time.Now().Add(dhttest.Patience/2)))
		require.Len(t, stream.Ask(ask).(*wire.FindValueReply).Values, 1)
		require.LessOrEqual(t, held(), DefaultLimits().Accounts.Source.Memory+1<<20)
	}
	require.NoError(t, stream.Close())
	require.NoError(t, hog.Network().ClosePeer(srv.ID()))
	require.NoError(t, honest.Network().ClosePeer(srv.ID()))
	eventually(t, func() bool { return held() == 0 }, "all is given back")
}
