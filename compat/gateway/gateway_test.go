package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

const (
	realm       = "test.realm"
	ownEndpoint = "https://gateway.example:9443"
)

// testGateway is one on a port of its own, with what it serves from.
type testGateway struct {
	*Gateway
	addr   netip.AddrPort
	server *routing.Server
}

func openGateway(tb testing.TB, opts ...Option) *testGateway {
	tb.Helper()
	return openGatewayOf(tb, newHandlers(tb), opts...)
}

func openGatewayOf(tb testing.TB, handlers *dht.Handlers, opts ...Option) *testGateway {
	tb.Helper()
	g, err := New(handlers, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { compattest.RequireCloses(tb, g.Close) })
	addr, err := g.ListenOn("127.0.0.1:0", compattest.Certificate())
	require.NoError(tb, err)
	return &testGateway{Gateway: g, addr: addr, server: handlers.Routing()}
}

func newHandlers(tb testing.TB, opts ...dht.Option) *dht.Handlers {
	tb.Helper()
	return newHandlersOf(tb, server.DefaultLimits(), opts...)
}

func newHandlersOf(tb testing.TB, limits server.Limits, opts ...dht.Option) *dht.Handlers {
	tb.Helper()
	r, err := routing.NewServer(routing.IDFromBytes([]byte("the gateway")))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, r.Close()) })
	mux, err := server.NewMux(server.WithLimits(limits))
	require.NoError(tb, err)
	handlers, err := dht.New(mux, r, append(opts,
		dht.WithRealm(realm),
		dht.WithEndpoint(func() string { return ownEndpoint }),
	)...)
	require.NoError(tb, err)
	return handlers
}

// newHandlersWith returns handlers whose accounts have other limits.
func newHandlersWith(tb testing.TB, change func(*budget.Limits)) *dht.Handlers {
	tb.Helper()
	l := server.DefaultLimits()
	change(&l.Accounts)
	return newHandlersOf(tb, l)
}

func (d *testGateway) store(tb testing.TB, key string, value wire.Raw) {
	tb.Helper()
	v, err := values.Parse(value)
	require.NoError(tb, err)
	require.NoError(tb, d.server.Records().Store(tb.Context(), records.Put{Key: []byte(key), Value: v.Raw, NodeID: v.NodeID}))
}

// nodeConn is a connection as an Erlang node makes it, from a port of its own.
type nodeConn struct {
	*quic.Conn
	tb testing.TB
}

func dialGateway(tb testing.TB, addr netip.AddrPort) *nodeConn {
	tb.Helper()
	conn, err := quic.DialAddr(compattest.Context(tb), addr.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{dialer.ALPN}}, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { conn.CloseWithError(0, "") })
	return &nodeConn{conn, tb}
}

// nodeStream is a stream on which a test writes what it likes.
type nodeStream struct {
	*quic.Stream
	tb testing.TB
	in *framing.Reader
}

func (c *nodeConn) open() *nodeStream {
	c.tb.Helper()
	s, err := c.OpenStreamSync(compattest.Context(c.tb))
	require.NoError(c.tb, err)
	require.NoError(c.tb, s.SetDeadline(time.Now().Add(compattest.Patience)))
	return &nodeStream{s, c.tb, framing.NewReader(s)}
}

func (s *nodeStream) send(messages ...wire.Message) {
	s.tb.Helper()
	s.write(compattest.Frames(s.tb, messages...))
}

func (s *nodeStream) write(b []byte) {
	s.tb.Helper()
	_, err := s.Write(b)
	require.NoError(s.tb, err)
}

func (s *nodeStream) next() framing.Frame {
	s.tb.Helper()
	f, err := s.in.Next()
	require.NoError(s.tb, err)
	f.Payload = append([]byte(nil), f.Payload...)
	return f
}

// ask sends a message and returns its reply as it came.
func (s *nodeStream) ask(m wire.Message) framing.Frame {
	s.tb.Helper()
	s.send(m)
	return s.next()
}

// askFor is ask with the reply decoded.
func askFor[M wire.Message](s *nodeStream, m wire.Message) M {
	s.tb.Helper()
	reply, err := s.ask(m).Decode()
	require.NoError(s.tb, err)
	typed, ok := reply.(M)
	require.True(s.tb, ok, "%s answered by %s", m.Type(), reply.Type())
	return typed
}

// connect sends a CONNECT and returns its PONG.
func (s *nodeStream) connect(nodeID, endpoint string) *wire.Pong {
	s.tb.Helper()
	return askFor[*wire.Pong](s, connectOf(nodeID, endpoint))
}

func connectOf(nodeID, endpoint string) *wire.Connect {
	return &wire.Connect{Version: "1.0", NodeID: []byte(nodeID), RealmID: realm, Endpoint: endpoint, Capabilities: []string{"rpc"}}
}

// named returns the addresses that a FIND_NODE_REPLY names.
func (s *nodeStream) named() (addresses []string) {
	s.tb.Helper()
	for _, n := range askFor[*wire.FindNodeReply](s, &wire.FindNode{Target: []byte("k")}).Nodes {
		addresses = append(addresses, n.Address)
	}
	return addresses
}

// guests returns how many nodes are connected.
func (d *testGateway) guests() int { return d.server.Stats().Guests }

// admitPeer makes a libp2p peer a contact that serves Erlang nodes at a port.
func (d *testGateway) admitPeer(tb testing.TB, port int) (endpoint string) {
	tb.Helper()
	p := peer.ID("peer at " + strconv.Itoa(port))
	id := routing.IDFromPeer(p)
	endpoint = "https://192.0.2.7:" + strconv.Itoa(port)
	require.NoError(tb, d.server.Admit(routing.Contact{
		ID: id, NodeID: id[:], Peer: p, Endpoint: endpoint, EndpointSeen: true, Verified: true,
		Addrs: []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.7/udp/" + strconv.Itoa(port) + "/quic-v1")},
	}))
	return endpoint
}

func (s *nodeStream) gateways() (hosts []string) {
	s.tb.Helper()
	reply := askFor[*wire.Reply](s, &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawMap(), CallID: []byte("1")})
	require.Nil(s.tb, reply.Error)
	var list procedures.GatewayList
	require.NoError(s.tb, list.Decode(reply.Result))
	for _, g := range list {
		require.NotEmpty(s.tb, g.NodeID)
		require.Equal(s.tb, realm, g.Realm)
		hosts = append(hosts, net.JoinHostPort(g.Host, strconv.Itoa(int(g.Port))))
	}
	return hosts
}

// requireReset reads until the gateway resets the stream, and requires its code.
func (s *nodeStream) requireReset(code proto.ResetCode) {
	s.tb.Helper()
	for {
		if _, err := s.in.Next(); err != nil {
			var reset *quic.StreamError
			require.ErrorAs(s.tb, err, &reset)
			require.True(s.tb, reset.Remote)
			require.Equal(s.tb, code, proto.ResetCode(reset.ErrorCode))
			return
		}
	}
}

// fieldNames returns the keys of a frame's map.
func fieldNames(tb testing.TB, f framing.Frame) (names []string) {
	tb.Helper()
	require.NoError(tb, f.Check())
	for key := range wire.Raw(f.Payload).Fields() {
		name, ok := key.Bytes()
		require.True(tb, ok)
		names = append(names, string(name))
	}
	return names
}

func TestFindValueMiss(t *testing.T) {
	d := openGateway(t)
	other := dialGateway(t, d.addr).open()
	other.connect("a node", "https://127.0.0.1:1") // somebody who could be listed
	s := dialGateway(t, d.addr).open()
	f := s.ask(&wire.FindValue{Key: []byte("nothing")})
	require.Equal(t, wire.TypeFindValueReply, f.Type)
	require.ElementsMatch(t, []string{"type", "result", "nodes"}, fieldNames(t, f))
	nodes, _ := wire.Raw(f.Payload).Field("nodes")
	require.Equal(t, wire.Raw{0x90}, nodes, "an empty list")
}

func TestFindValueHit(t *testing.T) {
	d := openGateway(t)
	withStr := compattest.Provider("n", wire.Pair{Key: "ports", Value: wire.Raw{0xa6, 0xe2, 0x93, 0xa3, 0xe2, 0x93, 0xa4}}, wire.Pair{Key: "none", Value: wire.Raw{0xa0}})
	s := dialGateway(t, d.addr).open()
	s.send(&wire.Store{Key: []byte("k"), Value: withStr})
	f := s.ask(&wire.FindValue{Key: []byte("k")})
	require.ElementsMatch(t, []string{"type", "result", "value"}, fieldNames(t, f), "no expires_in")
	value, _ := wire.Raw(f.Payload).Field("value")
	require.Equal(t, wire.RawArray(withStr), value, "byte for byte")
}

// A lookup takes the first packet for the whole reply.
func TestFindValueReplyFitsItsReader(t *testing.T) {
	d := openGateway(t)
	for i := range 100 {
		d.store(t, "k", compattest.Provider(strconv.Itoa(i), wire.Pair{Key: "d", Value: wire.RawBytes(make([]byte, 100))}))
	}
	conn := dialGateway(t, d.addr)
	lookup, session := conn.open(), conn.open()
	session.connect("a node", "")
	short := lookup.ask(&wire.FindValue{Key: []byte("k")})
	require.LessOrEqual(t, framing.HeaderSize+len(short.Payload), 1100)
	require.Greater(t, len(short.Payload), 800, "as many as fit")
	m, err := session.ask(&wire.FindValue{Key: []byte("k")}).Decode()
	require.NoError(t, err)
	require.Len(t, m.(*wire.FindValueReply).Values, 100)

	big := wire.RawBytes(make([]byte, 60_000))
	for i := range 5 {
		d.store(t, "big", compattest.Provider(strconv.Itoa(i), wire.Pair{Key: "d", Value: big}))
	}
	long := session.ask(&wire.FindValue{Key: []byte("big")})
	require.LessOrEqual(t, len(long.Payload), proto.MaxFindValueReply)
	m, err = long.Decode()
	require.NoError(t, err)
	require.Len(t, m.(*wire.FindValueReply).Values, 4)
}

func TestPongs(t *testing.T) {
	d := openGateway(t)
	s := dialGateway(t, d.addr).open()
	f := s.ask(&wire.Ping{Timestamp: wire.Some(int64(5))})
	require.ElementsMatch(t, []string{"timestamp", "server_time"}, fieldNames(t, f))
	f = s.ask(connectOf("a node", "https://127.0.0.1:1"))
	require.Equal(t, wire.TypePong, f.Type)
	require.ElementsMatch(t, []string{"timestamp", "server_time", "node_id", "endpoint"}, fieldNames(t, f))
	m, err := f.Decode()
	require.NoError(t, err)
	self := d.server.Self()
	require.Equal(t, self[:], m.(*wire.Pong).NodeID)
	require.Equal(t, ownEndpoint, m.(*wire.Pong).Endpoint)
}

// Erlang nodes that know each other stall and crash each other at every miss: none
// is told of another, whatever it asks on whatever stream, and however well the
// other is known.
func TestErlangNodesAreNotIntroduced(t *testing.T) {
	t.Parallel()
	d := openGateway(t, WithDialer(newDialer(t)))
	e := compattest.StartErlang(t, "127.0.0.1:0")
	first := dialGateway(t, d.addr).open()
	first.connect(e.ClientID(), e.Endpoint())
	d.contactOf(t, e.ClientID())
	second := dialGateway(t, d.addr)
	connected, lookup := second.open(), second.open()
	connected.connect(compattest.NodeID("b"), "https://127.0.0.1:2")
	entry := procedures.StoreArgs{Key: []byte(wire.GatewayPrefix + compattest.NodeID("c")), Value: compattest.Provider("c",
		wire.Pair{Key: "host", Value: wire.RawText("127.0.0.1")}, wire.Pair{Key: "port", Value: wire.RawInt(3)}, wire.Pair{Key: "realm", Value: wire.RawText(realm)})}
	stored := askFor[*wire.Reply](first, &wire.Call{Procedure: wire.ProcedureStore, Args: entry.Raw(), CallID: []byte("1")})
	require.Nil(t, stored.Error, "a node registers itself as ever")
	require.Len(t, askFor[*wire.FindValueReply](lookup, &wire.FindValue{Key: entry.Key}).Values, 1)

	own := strings.TrimPrefix(ownEndpoint, "https://")
	for name, s := range map[string]*nodeStream{"connected": connected, "another stream": lookup, "another connection": dialGateway(t, d.addr).open()} {
		require.Empty(t, s.named(), name)
		if s == connected {
			require.Empty(t, s.gateways(), name)
		} else {
			require.Equal(t, []string{own}, s.gateways(), name)
		}
	}

	// A libp2p peer they may know: it answers a miss at once.
	endpoint := d.admitPeer(t, 9443)
	require.Equal(t, []string{endpoint}, connected.named())
	require.Equal(t, []string{strings.TrimPrefix(endpoint, "https://")}, connected.gateways())
	f := connected.ask(&wire.FindNode{Target: []byte("k")})
	nodes, _ := wire.Raw(f.Payload).Field("nodes")
	for node := range nodes.Elems() {
		require.ElementsMatch(t, []string{"node_id", "address", "last_seen"}, fieldNames(t, framing.Frame{Type: f.Type, Payload: node}))
	}
}

func TestGuestsCount(t *testing.T) {
	d := openGateway(t)
	first, second := dialGateway(t, d.addr), dialGateway(t, d.addr)
	first.open().connect("node a", "https://127.0.0.1:1")
	second.open().connect("node a", "https://127.0.0.1:2")
	require.Equal(t, 1, d.guests(), "one node from two places")
	first.open().connect("node b", "https://127.0.0.1:3")
	require.Equal(t, 2, d.guests(), "the newest CONNECT of a connection counts")
	second.CloseWithError(0, "")
	compattest.Eventually(t, func() bool { return d.guests() == 1 }, "gone with its connection")
	first.CloseWithError(0, "")
	compattest.Eventually(t, func() bool { return d.guests() == 0 }, "gone with its connection")
}

// However many CONNECTs race on a connection, it leaves nothing behind.
func TestRacingConnects(t *testing.T) {
	d := openGateway(t)
	conn := dialGateway(t, d.addr)
	const racers = 16
	done := make(chan struct{}, racers)
	for i := range racers {
		s := conn.open()
		go func() {
			defer func() { done <- struct{}{} }()
			for j := range 20 {
				s.connect("node "+strconv.Itoa(i*100+j), "")
			}
		}()
	}
	for range racers {
		compattest.Wait(t, done)
	}
	require.Equal(t, 1, d.guests())
	conn.CloseWithError(0, "")
	compattest.Eventually(t, func() bool { return d.guests() == 0 }, "all are gone")
}

// A CONNECT that comes while another takes the first off the list.
func TestListsOneAtATime(t *testing.T) {
	s := &session{}
	calls := make(map[string]int)
	detach := func(name string) func() { return func() { calls[name]++ } }
	s.list(func() {
		calls["first"]++
		s.list(detach("third"))
	})
	s.list(detach("second"))
	s.leave()
	s.leave()
	require.Equal(t, map[string]int{"first": 1, "second": 1, "third": 1}, calls)
}

// A node of another realm keeps its stream: each end of one makes it connect anew,
// several times over.
func TestWrongRealm(t *testing.T) {
	var log bytes.Buffer // read once the gateway is closed
	d := openGateway(t, WithLogger(slog.New(slog.NewTextHandler(&log, nil))), limit(func(l *Limits) { l.Idle = soon }))
	conn := dialGateway(t, d.addr)
	s := conn.open()
	m := connectOf("a node", "https://127.0.0.1:1")
	m.RealmID = "another"
	for range 3 {
		no := askFor[*wire.Disconnect](s, m)
		require.Equal(t, "realm_mismatch", no.Reason)
		require.Contains(t, no.Message, realm)
	}
	time.Sleep(3 * soon) // as long as a quiet connection may live
	for range 2 {
		reply := askFor[*wire.Reply](s, &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawMap(), CallID: []byte("1")})
		require.Equal(t, "realm_mismatch", reply.Error.Code)
		require.Equal(t, "realm_mismatch", askFor[*wire.FindValueReply](s, &wire.FindValue{Key: []byte("k")}).Reason)
		require.Equal(t, "realm_mismatch", askFor[*wire.FindNodeReply](s, &wire.FindNode{Target: []byte("k")}).Reason)
	}
	require.Zero(t, d.guests())
	require.NoError(t, conn.Context().Err())
	require.NoError(t, d.Close())
	require.Equal(t, 1, strings.Count(log.String(), "turned away"), "once a connection: %s", &log)
	require.Contains(t, log.String(), "reason=realm_mismatch")
}

func TestPipelining(t *testing.T) {
	d := openGateway(t)
	const n = 250 // as many as one source may store under a key
	var burst []byte
	for i := range n {
		burst = append(burst, compattest.Frames(t, &wire.Ping{Timestamp: wire.Some(int64(i))}, &wire.Store{Key: []byte("k"), Value: compattest.Provider(strconv.Itoa(i))}, &wire.Opaque{MessageType: wire.TypeSWIMPing})...)
	}
	s := dialGateway(t, d.addr).open()
	go s.Write(burst)
	for i := range n {
		m, err := s.next().Decode()
		require.NoError(t, err)
		require.Equal(t, wire.Some(int64(i)), m.(*wire.Pong).Timestamp, "in order")
	}
	found, err := d.server.Records().Values(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(found), n-1)
}

func TestFramesInPieces(t *testing.T) {
	d := openGateway(t)
	conn := dialGateway(t, d.addr)
	two := compattest.Frames(t, &wire.Ping{Timestamp: wire.Some(int64(1))}, &wire.Ping{Timestamp: wire.Some(int64(2))})
	for cut := 1; cut < len(two); cut++ {
		s := conn.open()
		s.write(two[:cut])
		conn.open().ask(&wire.Ping{}) // so the first piece has come, as far as QUIC tells
		s.write(two[cut:])
		for want := range int64(2) {
			m, err := s.next().Decode()
			require.NoError(t, err)
			require.Equal(t, wire.Some(want+1), m.(*wire.Pong).Timestamp, "cut at %d", cut)
		}
		s.Close()
	}
	s := conn.open()
	for i := range two {
		s.write(two[i : i+1])
	}
	s.next()
	s.next()
}

func TestNATProbe(t *testing.T) {
	d := openGateway(t)
	conn := dialGateway(t, d.addr)
	reply := askFor[*wire.NATProbeReply](conn.open(), &wire.NATProbe{NodeID: []byte("me"), RequestID: []byte("id")})
	require.Equal(t, "127.0.0.1", reply.ReflexiveIP)
	require.EqualValues(t, conn.LocalAddr().(*net.UDPAddr).Port, reply.ReflexivePort)
	require.Equal(t, []byte("id"), reply.RequestID)
}

// TestServerAsksForNoCertificate: a node that has none is served, and one that
// has any too.
func TestServerAsksForNoCertificate(t *testing.T) {
	shown := compattest.NewAuthority(t).Leaf(x509.Certificate{DNSNames: []string{"client"}})
	for name, cert := range map[string]*tls.Certificate{"none": nil, "one": &shown} {
		t.Run(name, func(t *testing.T) {
			d := openGateway(t)
			_, err := client.Ping(compattest.Context(t), newDialer(t, dialer.WithTLS(identity.TLS{Certificate: cert})), compattest.At("https://"+d.addr.String()))
			require.NoError(t, err)
		})
	}
	// And a node that asks, as no Erlang one does, is shown ours.
	asking := ServerTLS(compattest.Certificate())
	asking.ClientAuth = tls.RequireAnyClientCert
	seen := make(chan []byte, 1)
	asking.VerifyPeerCertificate = func(certs [][]byte, _ [][]*x509.Certificate) error {
		seen <- certs[0]
		return nil
	}
	e := compattest.StartErlangWith(t, glass.ServeTLS(asking))
	_, err := client.Ping(compattest.Context(t), newDialer(t, dialer.WithTLS(identity.TLS{Certificate: &shown})), compattest.At(e.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, shown.Leaf.Raw, compattest.Wait(t, seen))
	_, err = client.Ping(compattest.Context(t), newDialer(t), compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
}
