package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// admitPeer makes a libp2p peer a contact that is seen where its endpoint is.
func admitPeer(t testing.TB, h *Handlers, host string, port int) routing.Contact {
	t.Helper()
	p := peer.ID(fmt.Sprint("peer at ", host, port))
	id := routing.IDFromPeer(p)
	c := routing.Contact{
		ID: id, NodeID: id[:], Peer: p, Verified: true, EndpointSeen: true,
		Endpoint: fmt.Sprintf("https://%s:%d", host, port),
		Addrs:    []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", host, port))},
	}
	require.NoError(t, h.Routing().Admit(c))
	return c
}

func admitErlang(t testing.TB, h *Handlers, name, endpoint string) routing.Contact {
	t.Helper()
	c := routing.Contact{ID: routing.IDFromBytes([]byte(name)), NodeID: []byte(name), Endpoint: endpoint, Verified: true}
	require.NoError(t, h.Routing().Admit(c))
	return c
}

func gatewayOf(nodeID []byte, host string, port int) wire.Gateway {
	return wire.Gateway{NodeID: nodeID, Host: host, Port: int64(port), Realm: proto.DefaultRealm}
}

// registerGateway stores the entry of a gateway under its key.
func registerGateway(t testing.TB, h *Handlers, g wire.Gateway) {
	t.Helper()
	peers, _ := wire.GatewayList{g}.Raw().Field("peers")
	for entry := range peers.Elems() {
		require.NoError(t, h.store(t.Context(), append([]byte(wire.GatewayPrefix), g.NodeID...), entry, 0, false, Origin{}, Erlang()))
	}
}

func TestListGateways(t *testing.T) {
	at := ma.StringCast("/ip4/192.0.2.9/udp/9443/quic-v1")
	s := newHandlers(t, WithEndpoint(func() string { return "https://192.0.2.1:9443" }), WithAddrs(func() []ma.Multiaddr { return []ma.Multiaddr{at} }))
	own := gatewayOf(s.nodeID, "192.0.2.1", 9443)
	one := admitPeer(t, s, "192.0.2.2", 9443)
	unseen := admitPeer(t, s, "192.0.2.3", 9443)
	unseen.EndpointSeen = false
	require.NoError(t, s.Routing().Admit(unseen))
	failed := admitPeer(t, s, "192.0.2.5", 9443)
	s.Routing().Table().Failed(failed.ID, time.Now())
	admitErlang(t, s, "erlang", "https://192.0.2.4:1")
	registerGateway(t, s, gatewayOf([]byte(erlangID("registered")), "192.0.2.6", 9443))
	peers := wire.GatewayList{own, gatewayOf(one.NodeID, "192.0.2.2", 9443)}

	list := s.listGateways(&Peer{ctx: t.Context(), session: &Session{Dialect: LibP2P()}})
	require.Equal(t, own, list[0])
	require.ElementsMatch(t, append(peers, gatewayOf([]byte("erlang"), "192.0.2.4", 1)), list)
	list = s.listGateways(&Peer{ctx: t.Context(), session: &Session{Dialect: LibP2P()}, asker: one.ID})
	require.Len(t, list, 2, "without the one that asks")

	// To Erlang nodes libp2p peers alone; on a stream that has CONNECTed each once,
	// and never us.
	c := &Peer{ctx: t.Context(), session: &Session{Dialect: Erlang()}}
	require.ElementsMatch(t, peers, s.listGateways(c))
	c.connected.Store(true)
	require.ElementsMatch(t, peers[1:], s.listGateways(c))
	require.Empty(t, s.listGateways(c))
	late := admitPeer(t, s, "192.0.2.7", 9443)
	require.Equal(t, wire.GatewayList{gatewayOf(late.NodeID, "192.0.2.7", 9443)}, s.listGateways(c))
	third := admitPeer(t, s, "192.0.2.8", 9443)
	require.Empty(t, s.listGateways(c), "it would ask all of them at each miss, also when they are gone")
	var told [][]byte
	for _, n := range s.nodes(third.NodeID, c.audience()) {
		told = append(told, n.ID)
	}
	require.ElementsMatch(t, [][]byte{one.NodeID, late.NodeID}, told, "nor another way")
	require.Len(t, s.nodes(third.NodeID, local(&c.session.Dialect)), 3, "others are told of all")
	s.Routing().Forget(third.ID)

	// Neither by another name, nor ourselves under another address.
	for _, again := range []routing.Contact{late, one} {
		again.Peer += " again"
		again.ID = routing.IDFromPeer(again.Peer)
		again.NodeID = again.ID[:]
		require.NoError(t, s.Routing().Admit(again))
	}
	admitPeer(t, s, "192.0.2.1", 9443)
	admitPeer(t, s, routing.AddrPortOf(at).Addr().String(), int(routing.AddrPortOf(at).Port()))
	require.Empty(t, s.listGateways(c))
}

func TestWhatAStreamRemembersIsLimited(t *testing.T) {
	s := newHandlers(t)
	c := &Peer{ctx: t.Context(), session: &Session{Dialect: Erlang()}}
	c.connected.Store(true)
	for i := range 2 * maxNamed {
		p := admitPeer(t, s, "192.0.2.6", i+1)
		if i%proto.MaxGateways == 0 {
			require.LessOrEqual(t, len(s.listGateways(c)), proto.MaxGateways)
		}
		s.Routing().Forget(p.ID)
	}
	for i := range 2 * maxNamed {
		s.neverName(c, fmt.Append(nil, "node ", i), "")
	}
	require.Empty(t, s.listGateways(c))
	require.LessOrEqual(t, len(c.named), 2*(maxNamed+proto.MaxGateways))
}

// Over libp2p nobody stores under the key of a gateway: others would be sent there.
func TestGatewayKeys(t *testing.T) {
	s := newHandlers(t)
	value := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText(erlangID("gw"))}, wire.Pair{Key: "host", Value: wire.RawText("192.0.2.1")},
		wire.Pair{Key: "port", Value: wire.RawInt(9443)}, wire.Pair{Key: "realm", Value: wire.RawText(proto.DefaultRealm)})
	key := []byte(wire.GatewayPrefix + erlangID("gw"))
	call := func(d Dialect) *wire.CallError {
		args := wire.StoreArgs{Key: key, Value: value}
		return s.callStore(&Peer{ctx: t.Context(), session: &Session{Dialect: d}}, args.Raw())
	}
	s.HandleStore(t.Context(), &wire.Store{Key: key, Value: value}, Origin{}, LibP2P())
	refused := call(LibP2P())
	require.Equal(t, wire.CodeInvalidArgs, refused.Code)
	require.Contains(t, refused.Message, "key")
	require.EqualValues(t, 2, s.Stats().DroppedStores)
	require.Empty(t, s.HandleFindValue(t.Context(), &wire.FindValue{Key: key}, Erlang(), proto.MaxFindValueReply).Values)

	require.Nil(t, call(Erlang()), "an Erlang node registers itself")
	require.Equal(t, []wire.Raw{value}, s.HandleFindValue(t.Context(), &wire.FindValue{Key: key}, Erlang(), proto.MaxFindValueReply).Values)
	require.Empty(t, s.listGateways(&Peer{ctx: t.Context(), session: &Session{Dialect: LibP2P()}}))
	require.Empty(t, s.listGateways(&Peer{ctx: t.Context(), session: &Session{Dialect: Erlang()}}))
}
