// Package dhttest has what tests of the protocol share: hosts on loopback, and a
// stream on which a test writes what it likes.
package dhttest

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Patience is how long a test waits for what must come.
const Patience = 15 * time.Second

// Host returns a host that listens on loopback.
func Host(tb testing.TB, opts ...libp2p.Option) host.Host {
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

// Connect has a dial b.
func Connect(tb testing.TB, a, b host.Host) {
	tb.Helper()
	require.NoError(tb, a.Connect(Context(tb), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}))
}

// Context ends with the test, or when a test has waited for too long.
func Context(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), Patience)
	tb.Cleanup(cancel)
	return ctx
}

// Contact is the contact by which others ask h.
func Contact(h host.Host) routing.Contact {
	id := routing.IDFromPeer(h.ID())
	return routing.Contact{ID: id, NodeID: id[:], Peer: h.ID(), Addrs: h.Addrs(), Verified: true}
}

// NodeID is the node id of a host.
func NodeID(h host.Host) []byte {
	id := routing.IDFromPeer(h.ID())
	return id[:]
}

// Stream is a stream of the protocol on which a test writes what it likes.
type Stream struct {
	network.Stream

	// In reads what comes.
	In *framing.Reader

	tb testing.TB
}

// Open opens a stream from h to the protocol's server at other.
func Open(tb testing.TB, h, other host.Host) *Stream {
	tb.Helper()
	Connect(tb, h, other)
	s, err := h.NewStream(Context(tb), other.ID(), proto.ProtocolID)
	require.NoError(tb, err)
	require.NoError(tb, s.SetDeadline(time.Now().Add(Patience)))
	tb.Cleanup(func() { s.Reset() })
	return &Stream{Stream: s, tb: tb, In: framing.NewReader(s)}
}

// Send writes messages, all in one Write.
func (s *Stream) Send(messages ...wire.Message) {
	s.tb.Helper()
	s.WriteAll(Frames(s.tb, messages...))
}

// WriteAll writes b.
func (s *Stream) WriteAll(b []byte) {
	s.tb.Helper()
	_, err := s.Write(b)
	require.NoError(s.tb, err)
}

// Next reads a message, which owns its memory.
func (s *Stream) Next() wire.Message {
	s.tb.Helper()
	f, err := s.In.Next()
	require.NoError(s.tb, err)
	f.Payload = append([]byte(nil), f.Payload...)
	m, err := f.Decode()
	require.NoError(s.tb, err)
	return m
}

// Ask sends a message and reads its reply.
func (s *Stream) Ask(m wire.Message) wire.Message {
	s.tb.Helper()
	s.Send(m)
	return s.Next()
}

// RequireReset reads until the server resets the stream, and requires its code.
func (s *Stream) RequireReset(code proto.ResetCode) {
	s.tb.Helper()
	for {
		if _, err := s.In.Next(); err != nil {
			var reset *network.StreamError
			require.ErrorAs(s.tb, err, &reset)
			require.True(s.tb, reset.Remote, "reset by the server")
			require.Equal(s.tb, code, proto.ResetCode(reset.ErrorCode))
			return
		}
	}
}

// Frames encodes messages one behind the other.
func Frames(tb testing.TB, messages ...wire.Message) (b []byte) {
	tb.Helper()
	for _, m := range messages {
		var err error
		b, err = framing.AppendFrame(b, m)
		require.NoError(tb, err)
	}
	return b
}

// Frame encodes any payload.
func Frame(t wire.Type, payload ...byte) []byte {
	n := len(payload)
	return append([]byte{framing.Version, byte(t), 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
}

// Value returns a value of the provider named nodeID with some more fields.
func Value(nodeID string, more ...wire.Pair) wire.Raw {
	return wire.RawMap(append([]wire.Pair{{Key: "node_id", Value: wire.RawText(nodeID)}}, more...)...)
}

// DeepValue nests so many maps, itself included.
func DeepValue(levels int) wire.Raw {
	v := wire.RawMap()
	for range levels - 1 {
		v = wire.RawMap(wire.Pair{Key: "x", Value: v})
	}
	return v
}

// Fields returns a message of any type with these fields.
func Fields(t wire.Type, pairs ...wire.Pair) wire.Message {
	return &wire.Opaque{MessageType: t, Fields: wire.RawMap(pairs...)}
}

// PeerID returns a new peer id.
func PeerID(tb testing.TB) peer.ID {
	tb.Helper()
	p, err := test.RandPeerID()
	require.NoError(tb, err)
	return p
}
