package maculadht

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

// newHost returns a host that listens on loopback.
func newHost(tb testing.TB, opts ...libp2p.Option) host.Host {
	tb.Helper()
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	}, opts...)...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, h.Close()) })
	return h
}

// newService starts the protocol on h.
func newService(tb testing.TB, h host.Host, opts ...Option) *Service {
	tb.Helper()
	s, err := New(h, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func newClient(tb testing.TB, h host.Host, opts ...ClientOption) *Client {
	tb.Helper()
	c, err := NewClient(h, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}

// connect has a dial b.
func connect(tb testing.TB, a, b host.Host) {
	tb.Helper()
	require.NoError(tb, a.Connect(testContext(tb), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}))
}

// lanesOf returns to how many peers, and in how many ways, a client has streams.
func lanesOf(c *Client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lanes)
}

// testContext ends with the test, or when a test has waited for too long.
func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// contactTo is the contact by which others ask h.
func contactTo(h host.Host) routing.Contact {
	id := routing.IDFromPeer(h.ID())
	return routing.Contact{ID: id, NodeID: id[:], Peer: h.ID(), Addrs: h.Addrs(), Verified: true}
}

// nodeIDOf is the node id of a host.
func nodeIDOf(h host.Host) []byte {
	id := routing.IDFromPeer(h.ID())
	return id[:]
}

// rawStream is a stream of the protocol on which a test writes what it likes.
type rawStream struct {
	network.Stream

	tb testing.TB
	in *wire.Reader
}

// openRaw opens a stream from h to the protocol's server at other.
func openRaw(tb testing.TB, h, other host.Host) *rawStream {
	tb.Helper()
	connect(tb, h, other)
	s, err := h.NewStream(testContext(tb), other.ID(), ProtocolID)
	require.NoError(tb, err)
	require.NoError(tb, s.SetDeadline(time.Now().Add(patience)))
	tb.Cleanup(func() { s.Reset() })
	return &rawStream{Stream: s, tb: tb, in: wire.NewReader(s)}
}

// send writes messages, all in one Write.
func (s *rawStream) send(messages ...wire.Message) {
	s.tb.Helper()
	s.write(frames(s.tb, messages...))
}

func (s *rawStream) write(b []byte) {
	s.tb.Helper()
	_, err := s.Write(b)
	require.NoError(s.tb, err)
}

// next reads a message, which owns its memory.
func (s *rawStream) next() wire.Message {
	s.tb.Helper()
	f, err := s.in.Next()
	require.NoError(s.tb, err)
	f.Payload = append([]byte(nil), f.Payload...)
	m, err := f.Decode()
	require.NoError(s.tb, err)
	return m
}

// ask sends a message and reads its reply.
func (s *rawStream) ask(m wire.Message) wire.Message {
	s.tb.Helper()
	s.send(m)
	return s.next()
}

// requireReset reads until the server resets the stream, and requires its code.
func (s *rawStream) requireReset(code ResetCode) {
	s.tb.Helper()
	for {
		if _, err := s.in.Next(); err != nil {
			var reset *network.StreamError
			require.ErrorAs(s.tb, err, &reset)
			require.True(s.tb, reset.Remote, "reset by the server")
			require.Equal(s.tb, code, ResetCode(reset.ErrorCode))
			return
		}
	}
}

// frames encodes messages one behind the other.
func frames(tb testing.TB, messages ...wire.Message) (b []byte) {
	tb.Helper()
	for _, m := range messages {
		var err error
		b, err = wire.AppendFrame(b, m)
		require.NoError(tb, err)
	}
	return b
}

// frame encodes any payload.
func frame(t wire.Type, payload ...byte) []byte {
	n := len(payload)
	return append([]byte{wire.Version, byte(t), 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
}

// valueOf returns a value of the provider named nodeID with some more fields.
func valueOf(nodeID string, more ...wire.Pair) wire.Raw {
	return wire.RawMap(append([]wire.Pair{{Key: "node_id", Value: wire.RawText(nodeID)}}, more...)...)
}
