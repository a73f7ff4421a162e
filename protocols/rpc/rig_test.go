package rpc_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

const (
	patience = 10 * time.Second
	tick     = 5 * time.Millisecond
	realm    = "be.cortexiq.test"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m)
}

// startNode starts a node of ours: a gateway with calls.
func startNode(tb testing.TB, bootstrap ...string) *node.Node {
	tb.Helper()
	return startNodeWith(tb, nil, bootstrap...)
}

func startNodeWith(tb testing.TB, limits *maculadht.Limits, bootstrap ...string) *node.Node {
	tb.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(tb, err)
	n, err := node.New(node.Config{
		Key:       key,
		Listen:    []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
		Realm:     realm,
		Bootstrap: bootstrap,
		Limits:    limits,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, n.Close()) })
	return n
}

// startNodes starts two that know each other.
func startNodes(tb testing.TB) (left, right *node.Node) {
	tb.Helper()
	left = startNode(tb)
	right = startNode(tb, left.Addrs()[0].String())
	for _, n := range [][2]*node.Node{{left, right}, {right, left}} {
		require.Eventually(tb, func() bool {
			c, ok := n[0].Service().Routing().Contact(n[1].ID())
			return ok && c.Confirmed()
		}, patience, tick)
	}
	return left, right
}

func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// world is an Erlang VM whose clients connect wherever they like, as behind a NAT.
func world(tb testing.TB) *glass.Gateway {
	tb.Helper()
	g, err := glass.Start(glass.Realm(realm))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

func connect(tb testing.TB, vm *glass.Gateway, at *node.Node, id string) *glass.Session {
	tb.Helper()
	var nodeID []byte
	if id != "" {
		nodeID = []byte(id)
	}
	s, err := vm.Connect(within(tb), at.Endpoint(), nodeID)
	require.NoError(tb, err)
	return s
}

// stored waits until the record of a procedure is at a node.
func stored(tb testing.TB, at *node.Node, procedure string) {
	tb.Helper()
	require.Eventually(tb, func() bool {
		all, _ := at.Service().Routing().Records().Values(tb.Context(), maculadht.ServiceKey(procedure))
		return len(all) > 0
	}, patience, tick, procedure)
}

// erlang is one stream over ALPN "macula", frame by frame.
type erlang struct {
	tb     testing.TB
	conn   *quic.Conn
	stream *quic.Stream
	in     *framing.Reader
	mu     sync.Mutex
}

// dial opens a connection with a stream to a node; from an IP address of loopback.
func dial(tb testing.TB, at *node.Node, from string) *erlang {
	tb.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)})
	require.NoError(tb, err)
	tr := &quic.Transport{Conn: udp}
	to, err := net.ResolveUDPAddr("udp4", at.Endpoint()[len("https://"):])
	require.NoError(tb, err)
	conn, err := tr.Dial(within(tb), to, &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true}, &quic.Config{MaxIncomingStreams: 10})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		conn.CloseWithError(0, "")
		tr.Close()
		udp.Close()
	})
	return (&erlang{tb: tb, conn: conn}).open()
}

// open returns another stream on the same connection.
func (e *erlang) open() *erlang {
	e.tb.Helper()
	s, err := e.conn.OpenStreamSync(within(e.tb))
	require.NoError(e.tb, err)
	return &erlang{tb: e.tb, conn: e.conn, stream: s, in: framing.NewReader(s)}
}

// as CONNECTs under a node id.
func (e *erlang) as(id string) *erlang {
	e.tb.Helper()
	e.send(&wire.Connect{Version: wire.ProtocolVersion, NodeID: []byte(id), RealmID: realm, Endpoint: "https://127.0.0.1:1", Capabilities: []string{"pubsub", "rpc"}})
	require.Equal(e.tb, wire.TypePong, e.next().Type)
	return e
}

func (e *erlang) send(messages ...wire.Message) {
	e.tb.Helper()
	var b []byte
	var err error
	for _, m := range messages {
		b, err = framing.AppendFrame(b, m)
		require.NoError(e.tb, err)
	}
	e.write(b)
}

func (e *erlang) write(b []byte) {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err := e.stream.Write(b)
	require.NoError(e.tb, err)
}

// next returns the next frame that comes.
func (e *erlang) next() framing.Frame {
	e.tb.Helper()
	require.NoError(e.tb, e.stream.SetReadDeadline(time.Now().Add(patience)))
	f, err := e.in.Next()
	require.NoError(e.tb, err)
	f.Payload = append([]byte(nil), f.Payload...)
	return f
}

func (e *erlang) message() wire.Message {
	e.tb.Helper()
	m, err := e.next().Decode()
	require.NoError(e.tb, err)
	return m
}

// route asks as macula:call does, once it knows the provider.
func route(id byte, from, to, procedure, args string) *wire.RPCRoute {
	call := wire.Call{Procedure: procedure, Args: wire.RawText(args), CallID: []byte(fmt.Sprintf("%015d%d", 0, id)), Realm: realm}
	return &wire.RPCRoute{
		Route:       wire.Route{Destination: []byte(to), Source: []byte(from), MaxHops: 10, Payload: call.AppendPayload(nil)},
		PayloadType: wire.PayloadCall,
	}
}

func text(raw wire.Raw) string {
	b, _ := raw.Bytes()
	return string(b)
}

// answerCalls answers each CALL that comes, until the stream ends.
func (e *erlang) answerCalls(answer func(*wire.Call) wire.Message) {
	for {
		f, err := e.in.Next()
		if err != nil {
			return
		}
		m, err := f.Decode()
		if call, ok := m.(*wire.Call); ok && err == nil {
			b, _ := framing.AppendFrame(nil, answer(call))
			e.write(b)
		}
	}
}
