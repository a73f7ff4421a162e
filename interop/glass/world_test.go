package glass_test

import (
	"crypto/sha256"
	"crypto/tls"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/virtualtest"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// world is a simulated network in virtual time, in which the reference's own
// times cost nothing.
type world struct{ *virtualtest.World }

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	virtualtest.Run(t, time.Millisecond, func(w *virtualtest.World) { test(&world{w}) })
}

func (w *world) start(opts ...glass.Option) *glass.Gateway {
	w.Helper()
	return start(w, append([]glass.Option{glass.Listen(w.NextHost()), glass.Network(w.Listen), glass.RegisterAfter(glass.DefaultRegisterAfter)}, opts...)...)
}

// transport is one of a plain host, such as a test's client.
func (w *world) transport() *quic.Transport {
	w.Helper()
	packets, err := w.Listen(w.NextHost())
	require.NoError(w, err)
	tr := &quic.Transport{Conn: packets}
	w.Cleanup(func() { packets.Close(); tr.Close() })
	return tr
}

func (w *world) dialFrom(tr *quic.Transport, g *glass.Gateway) (client, error) {
	conf := &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	conn, err := tr.Dial(within(w), g.Addr(), conf, &quic.Config{MaxIdleTimeout: time.Hour, KeepAlivePeriod: 20 * time.Second})
	return client{w, conn}, err
}

func (w *world) dial(g *glass.Gateway) client {
	w.Helper()
	c, err := w.dialFrom(w.transport(), g)
	require.NoError(w, err)
	return c
}

func (w *world) record(answer func(framing.Frame) []byte) *recorder {
	w.Helper()
	cert := w.start(glass.RegisterAfter(-1)).Certificate()
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{glass.ALPN}}
	ln, err := w.transport().Listen(conf, &quic.Config{MaxIdleTimeout: time.Hour})
	require.NoError(w, err)
	return recordOn(w, ln, answer)
}

// yes answers CONNECT, PING and CALL, and lists no gateways.
func yes(tb testing.TB) func(framing.Frame) []byte {
	return func(f framing.Frame) []byte {
		switch f.Type {
		case wire.TypeConnect, wire.TypePing:
			return encode(tb, &wire.Pong{NodeID: id32, Endpoint: "https://127.0.0.1:9443"})
		case wire.TypeCall:
			return made(wire.TypeReply, mapping("call_id", id16, "result", mapping("peers", wire.Raw{0xa0})))
		}
		return nil
	}
}

var id32 = []byte("0123456789abcdef0123456789abcdef")

func hashed(name string) []byte { sum := sha256.Sum256([]byte(name)); return sum[:] }
