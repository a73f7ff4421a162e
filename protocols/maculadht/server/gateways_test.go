package server

import (
	"context"
	"testing"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

func TestListGateways(t *testing.T) {
	at := ma.StringCast("/ip4/192.0.2.9/udp/9443/quic-v1")
	s := newHandlers(t, WithEndpoint(func() string { return "https://192.0.2.1:9443" }), WithAddrs(func() []ma.Multiaddr { return []ma.Multiaddr{at} }))
	own := wire.Gateway{NodeID: s.nodeID, Host: "192.0.2.1", Port: 9443, Realm: proto.DefaultRealm}
	other := wire.Gateway{NodeID: []byte("other"), Host: "192.0.2.2", Port: 9443, Realm: proto.DefaultRealm, RegisteredAt: wire.Some[int64](5)}
	elsewhere := wire.Gateway{NodeID: []byte("far"), Host: "192.0.2.3", Port: 9443, Realm: "elsewhere"}
	register := func(g wire.Gateway) {
		peers, _ := wire.GatewayList{g}.Raw().Field("peers")
		for entry := range peers.Elems() {
			s.HandleStore(context.Background(), &wire.Store{Key: append([]byte(wire.GatewayPrefix), g.NodeID...), Value: entry}, Origin{}, Dialect{})
		}
	}
	register(other)
	register(elsewhere)
	require.NoError(t, s.Routing().Admit(routing.Contact{ID: routing.ID{7}, NodeID: []byte("contact"), Endpoint: "https://192.0.2.4:1", Verified: true}))
	contact := wire.Gateway{NodeID: []byte("contact"), Host: "192.0.2.4", Port: 1, Realm: proto.DefaultRealm}

	list := s.listGateways(&Peer{ctx: t.Context(), session: &Session{Dialect: LibP2P()}})
	require.Equal(t, own, list[0])
	require.ElementsMatch(t, wire.GatewayList{own, other, contact}, list)

	// On a stream that has CONNECTed, where that counts, each once and never us.
	c := &Peer{ctx: t.Context(), session: &Session{Dialect: Dialect{GatewaysOnce: true}}}
	require.ElementsMatch(t, wire.GatewayList{own, other, contact}, s.listGateways(c))
	c.connected.Store(true)
	require.ElementsMatch(t, wire.GatewayList{other, contact}, s.listGateways(c))
	require.Empty(t, s.listGateways(c))
	late := wire.Gateway{NodeID: []byte("late"), Host: "192.0.2.5", Port: 9443, Realm: proto.DefaultRealm}
	register(late)
	require.Equal(t, wire.GatewayList{late}, s.listGateways(c))

	// Neither by another name, nor ourselves under another address.
	for _, g := range []wire.Gateway{
		{NodeID: []byte("late 2"), Host: "192.0.2.5", Port: 9443},
		{NodeID: []byte("late"), Host: "192.0.2.77", Port: 9443},
		{NodeID: s.nodeID, Host: "192.0.2.78", Port: 9443},
		{NodeID: []byte("us 1"), Host: "192.0.2.1", Port: 9443},
		{NodeID: []byte("us 2"), Host: "::ffff:192.0.2.1", Port: 9443},
		{NodeID: []byte("us 3"), Host: routing.AddrPortOf(at).Addr().String(), Port: int64(routing.AddrPortOf(at).Port())},
	} {
		g.Realm = proto.DefaultRealm
		register(g)
	}
	require.Empty(t, s.listGateways(c))
	for i, host := range []string{"node.example", "Node.Example", "node.example."} {
		register(wire.Gateway{NodeID: []byte{'n', byte(i)}, Host: host, Port: 9443, Realm: proto.DefaultRealm})
	}
	require.Len(t, s.listGateways(c), 1, "three spellings of one")

	for i := range 2 * maxNamed {
		g := wire.Gateway{NodeID: []byte{'g', byte(i >> 8), byte(i)}, Host: "192.0.2.6", Port: int64(i + 1), Realm: proto.DefaultRealm}
		register(g)
		if i%proto.MaxGateways == 0 {
			require.LessOrEqual(t, len(s.listGateways(c)), proto.MaxGateways)
		}
	}
	for range 3 * maxNamed / proto.MaxGateways {
		s.listGateways(c)
	}
	require.Empty(t, s.listGateways(c))
	require.LessOrEqual(t, len(c.named), 2*(maxNamed+proto.MaxGateways), "what a stream remembers is limited")
}
