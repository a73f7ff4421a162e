package dht

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht/offer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// An Erlang caller whose routed call is never answered crashes; a libp2p peer is answered
// by what is no answer in the order of its requests.
func TestRoutedCalls(t *testing.T) {
	call := func(payload wire.Raw) wire.Message {
		return &wire.RPCRoute{Route: wire.Route{Destination: []byte("d"), Source: []byte("s"), MaxHops: 10, Payload: payload}, PayloadType: wire.PayloadCall}
	}
	id := []byte("0123456789abcdef")
	withID := wire.RawMap(wire.Pair{Key: "call_id", Value: wire.RawBytes(id)}, wire.Pair{Key: "procedure", Value: wire.RawText("p")})
	for name, test := range map[string]struct {
		route wire.Message
		id    string // of the answer over ALPN macula; empty for none
	}{
		"a call":                   {call(withID), string(id)},
		"a call without id":        {call(wire.RawMap()), wire.UndefinedID},
		"a call with a long id":    {call(wire.RawMap(wire.Pair{Key: "call_id", Value: wire.RawBytes(make([]byte, 256))})), wire.UndefinedID},
		"a call that is no map":    {call(wire.RawInt(1)), wire.UndefinedID},
		"a reply":                  {&wire.RPCRoute{Route: wire.Route{Destination: []byte("d"), Payload: withID}, PayloadType: "reply"}, ""},
		"without any of its parts": {dhttest.Fields(wire.TypeRPCRoute), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dialect := range []server.Dialect{server.Erlang(), server.LibP2P()} {
				k := newRig(t).Serve(dialect)
				k.Send(dhttest.Frames(t, test.route, &wire.Ping{}))
				if test.id != "" {
					var reply *wire.Reply
					if answer := k.Message(); dialect.Extended {
						route := answer.(*wire.RPCRoute)
						require.Equal(t, wire.PayloadReply, route.PayloadType)
						require.Equal(t, "s", string(route.Destination))
						reply = new(wire.Reply)
						require.NoError(t, reply.Decode(route.Payload))
					} else {
						reply = answer.(*wire.Reply)
					}
					require.Equal(t, test.id, string(reply.CallID))
					require.Equal(t, wire.CodeNotRouted, reply.Error.Code)
				}
				require.IsType(t, &wire.Pong{}, k.Message(), "and nothing else, over %s", dialect.Name)
				k.RequireEnd()
			}
		})
	}
}

// _dht.peer_info leads who came by an endpoint over to libp2p.
func TestPeerInfo(t *testing.T) {
	addrs := []ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/udp/9443/quic-v1"), ma.StringCast("/ip4/10.0.0.1/udp/9443/quic-v1"), ma.StringCast("/ip4/127.0.0.1/udp/9443/quic-v1")}
	id := dhttest.PeerID(t)
	at := func(ip string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), 4242) }
	for name, test := range map[string]struct {
		dialect server.Dialect
		remote  netip.AddrPort
		peer    peer.ID
		want    []ma.Multiaddr
	}{
		"from a public address":   {server.Erlang(), at("1.1.1.1"), "", addrs[:1]},
		"from a private one":      {server.Erlang(), at("10.0.0.9"), "", addrs[:2]},
		"from this machine":       {server.Erlang(), at("127.0.0.1"), "", addrs},
		"from this machine, IPv6": {server.Erlang(), at("::ffff:127.0.0.1"), "", addrs},
		"over libp2p":             {server.LibP2P(), at("1.1.1.1"), "p", addrs[:1]},
		"through a relay":         {server.LibP2P(), netip.AddrPort{}, "p", addrs[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, WithPeerID(id), WithAddrs(func() []ma.Multiaddr { return addrs }), WithRealm("r"))
			r.Remote, r.Who = test.remote, test.peer
			p := r.Serve(test.dialect)
			p.Send(dhttest.Frames(t, &wire.Call{Procedure: wire.ProcedurePeerInfo, Args: wire.RawMap(), CallID: []byte("id")}))
			m, err := p.Next().Decode()
			require.NoError(t, err)
			require.Nil(t, m.(*wire.Reply).Error)
			var info procedures.PeerInfo
			require.NoError(t, info.Decode(m.(*wire.Reply).Result))
			require.Equal(t, procedures.PeerInfo{PeerID: id.String(), Addrs: addressing.EncodeAddrs(test.want), Realm: "r"}, info)
			p.RequireEnd()
		})
	}
	k := newRig(t).Serve(server.Erlang())
	require.Equal(t, wire.CodeBootstrapOnly, k.Ask(&wire.Call{Procedure: wire.ProcedurePeerInfo, CallID: []byte("id")}).(*wire.Reply).Error.Code, "of who is no libp2p peer")
	k.RequireEnd()
}

// The name of the store goes to libp2p peers alone.
func TestStoreID(t *testing.T) {
	for name, test := range map[string]struct {
		dialect server.Dialect
		told    bool
	}{"libp2p": {server.LibP2P(), true}, "macula": {server.Erlang(), false}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			want := r.handlers.Routing().Records().StoreID()
			require.NotEmpty(t, want)
			if !test.told {
				want = nil
			}
			p := r.Serve(test.dialect)
			p.Send(dhttest.Frames(t, &wire.Connect{NodeID: []byte("n"), RealmID: proto.DefaultRealm, Endpoint: "https://192.0.2.1:1"}))
			m, err := p.Next().Decode()
			require.NoError(t, err)
			require.Equal(t, want, m.(*wire.Pong).StoreID)
			p.RequireEnd()
		})
	}
	require.Error(t, WithPeerID("")(&config{}))
}

// elsewhere is a resolver that knows what others have.
type elsewhere []records.Record

func (e elsewhere) Known([]byte, records.Asker) ([]records.Record, bool) { return e, true }
func (elsewhere) Resolve([]byte, records.Asker, func([]records.Record)) (resolving bool) {
	return false
}

// What a client has stored here is what its node has, whatever lives longer elsewhere.
func TestWhatAClientStoredHereWins(t *testing.T) {
	id := servertest.ErlangID("provider")
	stale := dhttest.Value(id, wire.Pair{Key: "endpoint", Value: wire.RawBytes([]byte("https://old"))})
	changed := dhttest.Value(id, wire.Pair{Key: "endpoint", Value: wire.RawBytes([]byte("https://new"))}, wire.Pair{Key: "ttl", Value: wire.RawInt(300)})
	another := dhttest.Value(servertest.ErlangID("another"))
	day := time.Now().Add(24 * time.Hour)
	for name, test := range map[string]struct {
		stored server.Dialect
		want   []wire.Raw
	}{
		"by a client":      {server.Erlang(), []wire.Raw{changed, another}},
		"by a libp2p peer": {server.LibP2P(), []wire.Raw{stale, another}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, WithResolver(elsewhere{
				{Value: stale, NodeID: []byte(id), Expires: day}, {Value: another, NodeID: []byte(servertest.ErlangID("another")), Expires: day},
			}))
			require.NoError(t, r.handlers.store(t.Context(), offer.Offer{Key: []byte("k"), Value: changed}, Origin{}, test.stored))
			p := r.Serve(server.Erlang())
			p.Send(dhttest.Frames(t, &wire.FindValue{Key: []byte("k")}))
			m, err := p.Next().Decode()
			require.NoError(t, err)
			require.Equal(t, test.want, m.(*wire.FindValueReply).Values)
			p.RequireEnd()
		})
	}
}

// What would crash an Erlang node is kept, told to libp2p peers, and left out of
// what Erlang nodes get; where nothing else is there that is a miss.
func TestHarmfulValuesAreNotServed(t *testing.T) {
	h := newHandlers(t)
	good, short := dhttest.Value(servertest.ErlangID("good")), dhttest.Value("short")
	nameless := wire.RawMap(wire.Pair{Key: "a", Value: wire.RawInt(1)})
	badEndpoint := dhttest.Value(servertest.ErlangID("bad"), wire.Pair{Key: "endpoint", Value: wire.Raw{0xa1, 'x'}})
	find := func(key string, d server.Dialect) []wire.Raw {
		reply := h.HandleFindValue(t.Context(), &wire.FindValue{Key: []byte(key)}, d, proto.MaxFindValueReply)
		if len(reply.Values) == 0 {
			frame := dhttest.Frames(t, reply)
			nodes, ok := wire.Raw(frame[framing.HeaderSize:]).Field("nodes")
			require.True(t, ok, "a miss, no empty list of values")
			require.Equal(t, wire.Raw{0x90}, nodes)
		}
		return reply.Values
	}
	for _, v := range []wire.Raw{short, nameless, badEndpoint} {
		require.NoError(t, h.store(t.Context(), offer.Offer{Key: []byte("k"), Value: v}, Origin{}, server.Erlang()), "its own last writer")
	}
	require.Empty(t, find("k", server.Erlang()))
	require.EqualValues(t, 3, h.Stats().Harmful)
	require.EqualValues(t, 1, h.Stats().Misses)
	require.NoError(t, h.store(t.Context(), offer.Offer{Key: []byte("k"), Value: good}, Origin{}, server.Erlang()))
	require.Equal(t, []wire.Raw{good}, find("k", server.Erlang()))
	require.EqualValues(t, 6, h.Stats().Harmful)
	require.Len(t, find("k", server.LibP2P()), 4)
	require.EqualValues(t, 6, h.Stats().Harmful)
}
