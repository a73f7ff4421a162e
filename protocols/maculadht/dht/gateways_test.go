package dht

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht/offer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
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

// open serves a stream of a dialect until the test ends.
func open(t testing.TB, h *Handlers, d server.Dialect) *servertest.Asker {
	t.Helper()
	p := servertest.NewRig(t, h.Mux()).Serve(d)
	t.Cleanup(p.RequireEnd)
	return p
}

// askerOf returns who asks on a stream of a dialect, which nobody reads meanwhile.
func askerOf(t testing.TB, h *Handlers, d server.Dialect) *asker {
	t.Helper()
	return h.askers.Of(open(t, h, d).Peer)
}

// connectedOf returns an Erlang node that has CONNECTed.
func connectedOf(t testing.TB, h *Handlers) *asker {
	t.Helper()
	p := open(t, h, server.Erlang())
	p.Connect("node")
	return h.askers.Of(p.Peer)
}

func gatewayOf(nodeID []byte, host string, port int) procedures.Gateway {
	return procedures.Gateway{NodeID: nodeID, Host: host, Port: int64(port), Realm: proto.DefaultRealm}
}

// registerGateway stores the entry of a gateway under its key.
func registerGateway(t testing.TB, h *Handlers, g procedures.Gateway) {
	t.Helper()
	peers, _ := procedures.GatewayList{g}.Raw().Field("peers")
	for entry := range peers.Elems() {
		require.NoError(t, h.store(t.Context(), offer.Offer{Key: append([]byte(wire.GatewayPrefix), g.NodeID...), Value: entry}, Origin{}, server.Erlang()))
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
	registerGateway(t, s, gatewayOf([]byte(servertest.ErlangID("registered")), "192.0.2.6", 9443))
	peers := procedures.GatewayList{own, gatewayOf(one.NodeID, "192.0.2.2", 9443)}

	list := s.listGateways(askerOf(t, s, server.LibP2P()))
	require.Equal(t, own, list[0])
	require.ElementsMatch(t, append(peers, gatewayOf([]byte("erlang"), "192.0.2.4", 1)), list)
	that := askerOf(t, s, server.LibP2P())
	that.id = one.ID
	list = s.listGateways(that)
	require.Len(t, list, 2, "without the one that asks")

	// To Erlang nodes libp2p peers alone; on a stream that has CONNECTed each once,
	// and never us.
	require.ElementsMatch(t, peers, s.listGateways(askerOf(t, s, server.Erlang())))
	c := connectedOf(t, s)
	require.ElementsMatch(t, peers[1:], s.listGateways(c))
	require.Empty(t, s.listGateways(c))
	late := admitPeer(t, s, "192.0.2.7", 9443)
	require.Equal(t, procedures.GatewayList{gatewayOf(late.NodeID, "192.0.2.7", 9443)}, s.listGateways(c))
	third := admitPeer(t, s, "192.0.2.8", 9443)
	require.Empty(t, s.listGateways(c), "it would ask all of them at each miss, also when they are gone")
	var told [][]byte
	for _, n := range s.nodes(third.NodeID, c.audience()) {
		told = append(told, n.ID)
	}
	require.ElementsMatch(t, [][]byte{one.NodeID, late.NodeID}, told, "nor another way")
	require.Len(t, s.nodes(third.NodeID, local(c.dialect)), 3, "others are told of all")
	s.Routing().Forget(third.ID)

	// Neither by another name, nor ourselves under another address.
	for _, again := range []routing.Contact{late, one} {
		again.Peer += " again"
		again.ID = routing.IDFromPeer(again.Peer)
		again.NodeID = again.ID[:]
		require.NoError(t, s.Routing().Admit(again))
	}
	admitPeer(t, s, "192.0.2.1", 9443)
	admitPeer(t, s, addressing.AddrPortOf(at).Addr().String(), int(addressing.AddrPortOf(at).Port()))
	require.Empty(t, s.listGateways(c))
}

func TestWhatAStreamRemembersIsLimited(t *testing.T) {
	s := newHandlers(t)
	c := connectedOf(t, s)
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
	value := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText(servertest.ErlangID("gw"))}, wire.Pair{Key: "host", Value: wire.RawText("192.0.2.1")},
		wire.Pair{Key: "port", Value: wire.RawInt(9443)}, wire.Pair{Key: "realm", Value: wire.RawText(proto.DefaultRealm)})
	key := []byte(wire.GatewayPrefix + servertest.ErlangID("gw"))
	call := func(d server.Dialect) *wire.CallError {
		args := procedures.StoreArgs{Key: key, Value: value}
		return open(t, s, d).Ask(&wire.Call{Procedure: wire.ProcedureStore, CallID: []byte("id"), Args: args.Raw()}).(*wire.Reply).Error
	}
	s.HandleStore(t.Context(), &wire.Store{Key: key, Value: value}, Origin{}, server.LibP2P())
	refused := call(server.LibP2P())
	require.Equal(t, wire.CodeInvalidArgs, refused.Code)
	require.Contains(t, refused.Message, "key")
	require.EqualValues(t, 2, s.Stats().DroppedStores)
	require.Empty(t, s.HandleFindValue(t.Context(), &wire.FindValue{Key: key}, server.Erlang(), proto.MaxFindValueReply).Values)

	require.Nil(t, call(server.Erlang()), "an Erlang node registers itself")
	require.Equal(t, []wire.Raw{value}, s.HandleFindValue(t.Context(), &wire.FindValue{Key: key}, server.Erlang(), proto.MaxFindValueReply).Values)
	require.Empty(t, s.listGateways(askerOf(t, s, server.LibP2P())))
	require.Empty(t, s.listGateways(askerOf(t, s, server.Erlang())))
}

// What is remembered of a peer is its account's to pay, until its stream ends. Without
// room a CONNECT is answered all the same.
func TestWhatIsRememberedIsPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		admitPeer(t, r.handlers, "192.0.2.2", 9443)
		gateways := func(p *servertest.Asker) int {
			t.Helper()
			p.Send(dhttest.Frames(t, &wire.Call{Procedure: wire.ProcedureListGateways, CallID: []byte("id"), Args: wire.RawMap()}))
			m, err := p.Next().Decode()
			require.NoError(t, err)
			reply := m.(*wire.Reply)
			require.Nil(t, reply.Error)
			var list procedures.GatewayList
			require.NoError(t, list.Decode(reply.Result))
			return len(list)
		}
		requireListed := func(p *servertest.Asker, nodeID string) {
			t.Helper()
			got, ok := r.Mux.Clients().Get([]byte(nodeID))
			require.True(t, ok)
			require.Same(t, p.Peer, got)
			require.Equal(t, 1, r.Mux.Clients().Len())
		}
		memory := func() int64 {
			synctest.Wait()
			held, _ := r.Account.Usage()
			return held.Memory
		}
		p := r.Serve(server.Erlang())
		p.Connect("node") // and its buffers are there
		before := memory()
		p.Connect(strings.Repeat("n", 200))
		require.GreaterOrEqual(t, memory()-before, int64(2*200-len("node")), "its entry, and its name that is not listed to it")
		before = memory()
		require.Equal(t, 1, gateways(p))
		require.Greater(t, memory(), before)
		p.Connect("node")
		requireListed(p, "node")

		synctest.Wait() // the buffer of the last answer is there for the next
		giveBack := r.Fill(100)
		p.Connect("another")
		require.True(t, p.Peer.Connected())
		require.Zero(t, r.Mux.Clients().Len())
		giveBack()
		p.Connect("another")
		requireListed(p, "another")
		p.RequireEnd()
		r.RequireNothingHeld()

		// What can not be remembered is not listed: it would be dialled again each time.
		p = r.Serve(server.Erlang())
		p.Send(dhttest.Frames(t, &wire.Ping{}))
		p.Next()
		synctest.Wait()
		giveBack = r.Fill(1 << 10)
		p.Connect("node")
		require.Zero(t, gateways(p))
		giveBack()
		p.RequireEnd()
		r.RequireNothingHeld()
	})
}
