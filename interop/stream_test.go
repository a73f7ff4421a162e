package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// The names of the protocol, as they are published.
const (
	alpn       = "macula"
	protocolID = "/macula/dht/1.0"
)

// within ends with the test, or when it has waited for too long.
func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// dialRaw opens a connection as an Erlang node does.
func dialRaw(tb testing.TB, to *net.UDPAddr) *quic.Conn {
	tb.Helper()
	conf := &tls.Config{NextProtos: []string{alpn}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	conn, err := quic.DialAddr(within(tb), to.String(), conf, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { conn.CloseWithError(0, "") })
	return conn
}

// newPeer returns a libp2p host that only dials.
func newPeer(tb testing.TB) host.Host {
	tb.Helper()
	return newHost(tb, libp2p.NoListenAddrs)
}

// newListeningPeer returns a libp2p host on loopback.
func newListeningPeer(tb testing.TB) host.Host {
	tb.Helper()
	return newHost(tb, libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
}

func newHost(tb testing.TB, listen libp2p.Option) host.Host {
	tb.Helper()
	h, err := libp2p.New(listen, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, h.Close()) })
	return h
}

// connect connects a host to the peer at a multiaddr with /p2p.
func connect(tb testing.TB, h host.Host, addr string) peer.ID {
	tb.Helper()
	info, err := peer.AddrInfoFromString(addr)
	require.NoError(tb, err)
	require.NoError(tb, h.Connect(within(tb), *info))
	return info.ID
}

// stream is a stream of either transport.
type stream interface {
	io.ReadWriter
	CloseWrite() error
	SetDeadline(time.Time) error
}

// rawStream closes its writing side by Close.
type rawStream struct{ *quic.Stream }

func (s rawStream) CloseWrite() error { return s.Stream.Close() }

// talk is a stream on which a test writes bytes and reads frames.
type talk struct {
	tb testing.TB
	stream
	size int // of the last frame that was read, in bytes
}

func newTalk(tb testing.TB, s stream) *talk {
	tb.Helper()
	require.NoError(tb, s.SetDeadline(time.Now().Add(patience)))
	return &talk{tb: tb, stream: s}
}

// talkRaw opens a stream on a raw QUIC connection.
func talkRaw(tb testing.TB, conn *quic.Conn) *talk {
	tb.Helper()
	s, err := conn.OpenStreamSync(within(tb))
	require.NoError(tb, err)
	return newTalk(tb, rawStream{s})
}

// talkPeer opens a stream of the protocol to a connected libp2p peer.
func talkPeer(tb testing.TB, h host.Host, p peer.ID) *talk {
	tb.Helper()
	s, err := h.NewStream(within(tb), p, protocolID)
	require.NoError(tb, err)
	tb.Cleanup(func() { s.Reset() })
	return newTalk(tb, s)
}

// send writes in one Write for each argument. That a stream is reset meanwhile
// shows when it is read.
func (k *talk) send(writes ...[]byte) {
	for _, b := range writes {
		if _, err := k.Write(b); err != nil {
			return
		}
	}
}

// next reads a frame, or why there is none.
func (k *talk) next() (message, error) {
	k.tb.Helper()
	head := make([]byte, header)
	if _, err := io.ReadFull(k, head); err != nil {
		return message{}, err
	}
	payload := make([]byte, uint32(head[4])<<24|uint32(head[5])<<16|uint32(head[6])<<8|uint32(head[7]))
	if _, err := io.ReadFull(k, payload); err != nil {
		return message{}, err
	}
	k.size = header + len(payload)
	return decodeFrame(k.tb, append(head, payload...)), nil
}

// ask sends a frame and reads the one that answers it.
func (k *talk) ask(typ byte, payload any) message {
	k.tb.Helper()
	k.send(frame(typ, payload))
	reply, err := k.next()
	require.NoError(k.tb, err)
	return reply
}

// ends says how a stream ended.
func ends(err error) string {
	if errors.Is(err, io.EOF) {
		return "closed"
	}
	if reset, ok := errors.AsType[*network.StreamError](err); ok && reset.Remote {
		return fmt.Sprintf("reset %d", reset.ErrorCode)
	}
	if reset, ok := errors.AsType[*quic.StreamError](err); ok && reset.Remote {
		return fmt.Sprintf("reset %d", reset.ErrorCode)
	}
	return err.Error()
}

// The PING and the CALL after which nothing else is to come.
const (
	marker     = int64(0x6d61726b)
	markerCall = bin("mark")
)

// rest asks for a sign of life and returns what comes before it, and what became of
// the stream: "open" where it goes on, "refused" and why where it does but nothing is
// answered there since a refused CONNECT, "closed", or "reset" and the code. As replies
// come in order, what was not answered by then never will be.
func (k *talk) rest() (replies []message, end string) {
	k.tb.Helper()
	k.send(frame(tPing, doc{"timestamp": marker}), frame(tCall, doc{"procedure": markerCall, "call_id": markerCall}))
	ponged := false
	for {
		m, err := k.next()
		switch {
		case err != nil:
			return replies, ends(err)
		case m.Type == tPong && m.Fields["timestamp"] == marker:
			ponged = true
		case m.Type == tReply && m.Fields["call_id"] == markerCall:
			if ponged {
				return replies, "open"
			}
			failure, _ := m.Fields["error"].(map[string]any)
			return replies, fmt.Sprintf("refused %s", failure["code"])
		default:
			replies = append(replies, m)
		}
	}
}

// finish ends our side and returns what comes until the other side ends.
func (k *talk) finish() (replies []message, end string) {
	k.tb.Helper()
	k.CloseWrite()
	for {
		m, err := k.next()
		if err != nil {
			return replies, ends(err)
		}
		replies = append(replies, m)
	}
}

// requireAlive requires that a PING is answered.
func (k *talk) requireAlive() {
	k.tb.Helper()
	replies, end := k.rest()
	require.Equal(k.tb, "open", end)
	require.Empty(k.tb, replies)
}
