package server

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// An Erlang caller whose routed call is never answered crashes; a libp2p peer that
// matches answers by their order must get none.
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
			for _, dialect := range []Dialect{Erlang(), LibP2P()} {
				k := openTalk(t, func(_ *Limits, s *Session) { s.Dialect = dialect })
				k.write(dhttest.Frames(t, test.route, &wire.Ping{}))
				if test.id != "" && !dialect.Extended {
					reply := k.next().(*wire.Reply)
					require.Equal(t, test.id, string(reply.CallID))
					require.Equal(t, wire.CodeNotRouted, reply.Error.Code)
				}
				require.IsType(t, &wire.Pong{}, k.next(), "and nothing else, over %s", dialect.Name)
				k.end()
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
		dialect Dialect
		remote  netip.AddrPort
		peer    peer.ID
		want    []ma.Multiaddr
	}{
		"from a public address":   {Erlang(), at("1.1.1.1"), "", addrs[:1]},
		"from a private one":      {Erlang(), at("10.0.0.9"), "", addrs[:2]},
		"from this machine":       {Erlang(), at("127.0.0.1"), "", addrs},
		"from this machine, IPv6": {Erlang(), at("::ffff:127.0.0.1"), "", addrs},
		"over libp2p":             {LibP2P(), at("1.1.1.1"), "p", addrs[:1]},
		"through a relay":         {LibP2P(), netip.AddrPort{}, "p", addrs[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, WithPeerID(id), WithAddrs(func() []ma.Multiaddr { return addrs }), WithRealm("r"))
			r.remote, r.who = test.remote, test.peer
			p := r.serve(test.dialect)
			p.write(dhttest.Frames(t, &wire.Call{Procedure: wire.ProcedurePeerInfo, Args: wire.RawMap(), CallID: []byte("id")}))
			m, err := p.next().Decode()
			require.NoError(t, err)
			require.Nil(t, m.(*wire.Reply).Error)
			var info wire.PeerInfo
			require.NoError(t, info.Decode(m.(*wire.Reply).Result))
			require.Equal(t, wire.PeerInfo{PeerID: id.String(), Addrs: routing.EncodeAddrs(test.want), Realm: "r"}, info)
			p.requireEnd()
		})
	}
	k := openTalk(t, nil)
	require.Equal(t, wire.CodeBootstrapOnly, k.ask(&wire.Call{Procedure: wire.ProcedurePeerInfo, CallID: []byte("id")}).(*wire.Reply).Error.Code, "of who is no libp2p peer")
}

// The name of the store goes to libp2p peers alone.
func TestStoreID(t *testing.T) {
	for name, test := range map[string]struct {
		dialect Dialect
		told    bool
	}{"libp2p": {LibP2P(), true}, "macula": {Erlang(), false}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			want := r.handlers.Routing().Records().StoreID()
			require.NotEmpty(t, want)
			if !test.told {
				want = nil
			}
			p := r.serve(test.dialect)
			p.write(dhttest.Frames(t, &wire.Connect{NodeID: []byte("n"), RealmID: proto.DefaultRealm, Endpoint: "https://192.0.2.1:1"}))
			m, err := p.next().Decode()
			require.NoError(t, err)
			require.Equal(t, want, m.(*wire.Pong).StoreID)
			p.requireEnd()
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
	id := erlangID("provider")
	stale := dhttest.Value(id, wire.Pair{Key: "endpoint", Value: wire.RawBytes([]byte("https://old"))})
	changed := dhttest.Value(id, wire.Pair{Key: "endpoint", Value: wire.RawBytes([]byte("https://new"))}, wire.Pair{Key: "ttl", Value: wire.RawInt(300)})
	another := dhttest.Value(erlangID("another"))
	day := time.Now().Add(24 * time.Hour)
	for name, test := range map[string]struct {
		stored Dialect
		want   []wire.Raw
	}{
		"by a client":      {Erlang(), []wire.Raw{changed, another}},
		"by a libp2p peer": {LibP2P(), []wire.Raw{stale, another}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, WithResolver(elsewhere{
				{Value: stale, NodeID: []byte(id), Expires: day}, {Value: another, NodeID: []byte(erlangID("another")), Expires: day},
			}))
			require.NoError(t, r.handlers.store(t.Context(), []byte("k"), changed, 0, false, Origin{}, test.stored))
			p := r.serve(Erlang())
			p.write(dhttest.Frames(t, &wire.FindValue{Key: []byte("k")}))
			m, err := p.next().Decode()
			require.NoError(t, err)
			require.Equal(t, test.want, m.(*wire.FindValueReply).Values)
			p.requireEnd()
		})
	}
}

// What would crash an Erlang node is kept, told to libp2p peers, and left out of
// what Erlang nodes get; where nothing else is there that is a miss.
func TestHarmfulValuesAreNotServed(t *testing.T) {
	h := newHandlers(t)
	good, short := dhttest.Value(erlangID("good")), dhttest.Value("short")
	nameless := wire.RawMap(wire.Pair{Key: "a", Value: wire.RawInt(1)})
	badEndpoint := dhttest.Value(erlangID("bad"), wire.Pair{Key: "endpoint", Value: wire.Raw{0xa1, 'x'}})
	find := func(key string, d Dialect) []wire.Raw {
		reply := h.HandleFindValue(t.Context(), &wire.FindValue{Key: []byte(key)}, d, proto.MaxFindValueReply)
		if len(reply.Values) == 0 {
			frame := dhttest.Frames(t, reply)
			nodes, ok := wire.Raw(frame[wire.HeaderSize:]).Field("nodes")
			require.True(t, ok, "a miss, no empty list of values")
			require.Equal(t, wire.Raw{0x90}, nodes)
		}
		return reply.Values
	}
	for _, v := range []wire.Raw{short, nameless, badEndpoint} {
		require.NoError(t, h.store(t.Context(), []byte("k"), v, 0, false, Origin{}, Erlang()), "its own last writer")
	}
	require.Empty(t, find("k", Erlang()))
	require.EqualValues(t, 3, h.Stats().Harmful)
	require.EqualValues(t, 1, h.Stats().Misses)
	require.NoError(t, h.store(t.Context(), []byte("k"), good, 0, false, Origin{}, Erlang()))
	require.Equal(t, []wire.Raw{good}, find("k", Erlang()))
	require.EqualValues(t, 6, h.Stats().Harmful)
	require.Len(t, find("k", LibP2P()), 4)
	require.EqualValues(t, 6, h.Stats().Harmful)
}
