package glass_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m)
}

const (
	patience = 20 * time.Second // for what must come
	tick     = 5 * time.Millisecond
	soon     = 50 * time.Millisecond // a time that a test waits for
	never    = time.Hour             // one that it does not

	realm = "be.cortexiq.test" // of the recordings
)

func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func eventually(tb testing.TB, state func() bool, what string) {
	tb.Helper()
	require.Eventually(tb, state, patience, tick, what)
}

func start(tb testing.TB, opts ...glass.Option) *glass.Gateway {
	tb.Helper()
	g, err := glass.Start(append([]glass.Option{glass.Realm(realm), glass.RegisterAfter(-1)}, opts...)...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

// client is a plain QUIC connection to a gateway.
type client struct {
	tb testing.TB
	*quic.Conn
}

func dial(tb testing.TB, g *glass.Gateway) client {
	tb.Helper()
	conf := &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	conn, err := quic.DialAddr(within(tb), g.Addr().String(), conf, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { conn.CloseWithError(0, "") })
	eventually(tb, func() bool { return !g.Stats().Handshaking }, "it is through with the handshake, too")
	return client{tb, conn}
}

// talk is a stream of a client.
type talk struct {
	tb testing.TB
	*quic.Stream
	in *framing.Reader
}

func (c client) open() *talk {
	c.tb.Helper()
	s, err := c.OpenStreamSync(within(c.tb))
	require.NoError(c.tb, err)
	require.NoError(c.tb, s.SetDeadline(time.Now().Add(patience)))
	return &talk{c.tb, s, framing.NewReader(s)}
}

func (k *talk) send(b []byte) {
	k.tb.Helper()
	require.NoError(k.tb, k.SetWriteDeadline(time.Now().Add(patience)))
	_, err := k.Write(b)
	require.NoError(k.tb, err)
}

func (k *talk) next() (framing.Frame, error) {
	f, err := k.in.Next()
	f.Payload = bytes.Clone(f.Payload)
	return f, err
}

// ask sends a message and returns what answers it.
func (k *talk) ask(m wire.Message) wire.Message {
	k.tb.Helper()
	k.send(encode(k.tb, m))
	require.NoError(k.tb, k.SetReadDeadline(time.Now().Add(patience)))
	f, err := k.next()
	require.NoError(k.tb, err)
	reply, err := f.Decode()
	require.NoError(k.tb, err)
	return reply
}

// done ends both directions, as a careful client does after a reply.
func (k *talk) done() { k.Close(); k.CancelRead(0) }

// ask asks on a stream of its own.
func (c client) ask(m wire.Message) wire.Message {
	c.tb.Helper()
	k := c.open()
	defer k.done()
	return k.ask(m)
}

// tell sends what has no reply, on a stream of its own.
func (c client) tell(m wire.Message) {
	c.tb.Helper()
	k := c.open()
	defer k.done()
	k.send(encode(c.tb, m))
}

func encode(tb testing.TB, messages ...wire.Message) (b []byte) {
	tb.Helper()
	for _, m := range messages {
		var err error
		b, err = framing.AppendFrame(b, m)
		require.NoError(tb, err)
	}
	return b
}

// made is a frame of any payload.
func made(t wire.Type, payload wire.Raw) []byte {
	n := len(payload)
	return append([]byte{framing.Version, byte(t), 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
}

// mapping is a map of a name and a value, in turn.
func mapping(fields ...any) wire.Raw {
	var pairs []wire.Pair
	for i := 0; i < len(fields); i += 2 {
		p := wire.Pair{Key: fields[i].(string)}
		switch v := fields[i+1].(type) {
		case string:
			p.Value = wire.RawText(v)
		case []byte:
			p.Value = wire.RawBytes(v)
		case int:
			p.Value = wire.RawInt(int64(v))
		case wire.Raw:
			p.Value = v
		}
		pairs = append(pairs, p)
	}
	return wire.RawMap(pairs...)
}

// inStr is a map as mapping makes it, with keys that are str.
func inStr(fields ...any) wire.Raw {
	m := mapping(fields...)
	b := wire.Raw{m[0]}
	for key, value := range m.Fields() {
		name, _ := key.Bytes()
		b = append(append(append(b, 0xa0|byte(len(name))), name...), value...)
	}
	return b
}

var id16 = []byte("0123456789abcdef")

func provider(nodeID string) wire.Raw {
	return mapping("node_id", nodeID, "endpoint", "https://127.0.0.1:1")
}

func connecting(nodeID string) *wire.Connect {
	return &wire.Connect{Version: "1.0", NodeID: []byte(nodeID), RealmID: realm, Endpoint: "https://127.0.0.1:1", Capabilities: []string{"rpc"}}
}

func listGateways() *wire.Call {
	return &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawMap(), CallID: id16}
}
