package pubsub_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

const (
	patience = 15 * time.Second // for anything on loopback, however busy the machine
	tick     = 5 * time.Millisecond
	realm    = "be.cortexiq.test" // of the recordings
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4")
	goleak.VerifyTestMain(m)
}

func patient(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func newKey(tb testing.TB) crypto.PrivKey {
	tb.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(tb, err)
	return key
}

// startNode runs a whole node on loopback, joined to others.
func startNode(tb testing.TB, others ...*node.Node) *node.Node {
	tb.Helper()
	return startNodeOf(tb, node.Config{}, others...)
}

func startNodeOf(tb testing.TB, cfg node.Config, others ...*node.Node) *node.Node {
	tb.Helper()
	if cfg.Key == nil {
		cfg.Key = newKey(tb)
	}
	if cfg.Listen == nil {
		cfg.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	}
	cfg.Realm, cfg.Mode = realm, node.ModeServer
	for _, o := range others {
		cfg.Bootstrap = append(cfg.Bootstrap, o.Addrs()[0].String())
	}
	n, err := node.New(cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, n.Close()) })
	for _, o := range others {
		require.Eventually(tb, func() bool {
			_, knows := n.Service().Routing().Contact(o.ID())
			_, known := o.Service().Routing().Contact(n.ID())
			return knows && known
		}, patience, tick, "they know each other")
	}
	return n
}

// startBare runs topics on a plain libp2p host, as an embedding program does.
func startBare(tb testing.TB, at *node.Node, opts ...pubsub.Option) *pubsub.Topics {
	tb.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, h.Close()) })
	s, err := maculadht.New(h, maculadht.WithRealm(realm), maculadht.WithMode(maculadht.ModeServer))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	t, err := pubsub.New(s, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, t.Close()) })
	info, err := node.ParsePeer(at.Addrs()[0].String())
	require.NoError(tb, err)
	require.NoError(tb, s.Join(tb.Context(), *info))
	require.Eventually(tb, func() bool {
		_, known := at.Service().Routing().Contact(s.Routing().Self())
		return known && len(s.Routing().Contacts()) > 0
	}, patience, tick, "they know each other")
	return t
}

// erlang is a client as Erlang nodes are: one raw QUIC stream.
type erlang struct {
	tb     testing.TB
	conn   *quic.Conn // nil over libp2p
	stream interface {
		io.ReadWriter
		SetReadDeadline(time.Time) error
	}
	in *framing.Reader
}

func dialErlang(tb testing.TB, endpoint string) *erlang {
	tb.Helper()
	conf := &tls.Config{NextProtos: []string{"macula"}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	conn, err := quic.DialAddr(patient(tb), strings.TrimPrefix(endpoint, "https://"), conf, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { conn.CloseWithError(0, "") })
	return openErlang(tb, conn)
}

func openErlang(tb testing.TB, conn *quic.Conn) *erlang {
	tb.Helper()
	s, err := conn.OpenStreamSync(patient(tb))
	require.NoError(tb, err)
	return &erlang{tb, conn, s, framing.NewReader(s)}
}

// newStranger is a libp2p peer that has not CONNECTed.
func newStranger(tb testing.TB, n *node.Node) *erlang {
	tb.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, h.Close()) })
	info, err := node.ParsePeer(n.Addrs()[0].String())
	require.NoError(tb, err)
	require.NoError(tb, h.Connect(patient(tb), *info))
	s, err := h.NewStream(patient(tb), info.ID, proto.ProtocolID)
	require.NoError(tb, err)
	return &erlang{tb, nil, s, framing.NewReader(s)}
}

// newErlang is one that has CONNECTed under an id.
func newErlang(tb testing.TB, n *node.Node, id string) *erlang {
	tb.Helper()
	e := dialErlang(tb, n.Endpoint())
	e.connect(id)
	return e
}

func (e *erlang) connect(id string) {
	e.tb.Helper()
	e.send(&wire.Connect{Version: "1.0", NodeID: []byte(id), RealmID: realm, Capabilities: []string{"pubsub", "rpc"}})
	require.Equal(e.tb, wire.TypePong, e.next().Type)
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
	_, err := e.stream.Write(b)
	require.NoError(e.tb, err)
}

// settled waits until all that was sent before is done.
func (e *erlang) settled() {
	e.tb.Helper()
	e.send(&wire.Ping{Timestamp: wire.Some[int64](4711)})
	for {
		f := e.next()
		if f.Type == wire.TypePong {
			return
		}
		require.FailNow(e.tb, "more than the answer", "%s %x", f.Type, f.Payload)
	}
}

// quiet requires that nothing has come.
func (e *erlang) quiet() { e.tb.Helper(); e.settled() }

func (e *erlang) next() framing.Frame {
	e.tb.Helper()
	e.stream.SetReadDeadline(time.Now().Add(patience))
	f, err := e.in.Next()
	require.NoError(e.tb, err)
	f.Payload = append([]byte(nil), f.Payload...)
	return f
}

// published returns the PUBLISH that comes next.
func (e *erlang) published() *wire.Publish {
	e.tb.Helper()
	f := e.next()
	require.Equal(e.tb, wire.TypePublish, f.Type)
	m, err := f.Decode()
	require.NoError(e.tb, err)
	return m.(*wire.Publish)
}

func (e *erlang) subscribe(patterns ...string) {
	e.tb.Helper()
	for _, p := range patterns {
		e.send(&wire.Subscribe{Topics: []string{p}})
	}
	e.settled()
}

// publish publishes as a client does, whose ids are a counter.
func (e *erlang) publish(topic, payload string, n int) {
	e.tb.Helper()
	e.send(&wire.Publish{Topic: topic, Payload: wire.RawText(payload), MessageID: counter(n)})
}

func counter(n int) []byte { return []byte(fmt.Sprintf("%015d%c", n/128, n%128)) }

// id32 is the id of a client that macula:connect makes.
func id32(name string) string { return (name + strings.Repeat("-", 32))[:32] }

func next(tb testing.TB, s *pubsub.Subscription) pubsub.Message {
	tb.Helper()
	m, err := s.Next(patient(tb))
	require.NoError(tb, err)
	return m
}

// nothing requires that nothing comes while somebody else is served.
func nothing(tb testing.TB, s *pubsub.Subscription) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 50*time.Millisecond)
	defer cancel()
	m, err := s.Next(ctx)
	require.ErrorIs(tb, err, context.DeadlineExceeded, "%s %x", m.Topic, m.Value)
}
