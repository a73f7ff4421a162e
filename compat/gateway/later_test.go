package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// From 0.20.19 on a client asks for the nodes nearest to itself, by a FIND_NODE
// without type, on the stream of its CONNECT, over and over.
func TestClientsThatFindThemselves(t *testing.T) {
	d := openGateway(t)
	id := []byte("01234567890123456789012345678901")
	s := dialGateway(t, d.addr).open()
	require.Equal(t, wire.TypePong, s.ask(&wire.Connect{Version: "1.0", NodeID: id, RealmID: realm, Endpoint: "https://127.0.0.1:1"}).Type)
	for range 3 {
		reply := s.ask(&wire.FindNode{Target: id})
		require.Equal(t, wire.TypeFindNodeReply, reply.Type)
	}

	g := compattest.StartErlangWith(t, glass.RegisterAfter(0), glass.Realm(realm), glass.RawClientIDs(), glass.FindsItself(20*time.Millisecond))
	_, err := g.Bootstrap(compattest.Context(t), "https://"+d.addr.String())
	require.NoError(t, err)
	compattest.Eventually(t, func() bool { return d.handlers.Mux().Stats().Frames >= 16 }, "they are asked")
	require.Empty(t, g.Broken())
}
