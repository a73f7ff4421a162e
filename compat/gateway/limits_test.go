package gateway

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// soon is a time-out that a test waits for.
const soon = 100 * time.Millisecond

// limit changes some of a gateway's limits.
func limit(change func(*Limits)) Option {
	l := DefaultLimits()
	change(&l)
	return WithLimits(l)
}

// newGateway returns a gateway that is closed when the test ends.
func newGateway(tb testing.TB, opts ...Option) *Gateway {
	tb.Helper()
	g, err := New(newHandlers(tb), opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { compattest.RequireCloses(tb, g.Close) })
	return g
}

// requireClosed waits until the gateway closes a connection, and requires
// its code.
func (c *nodeConn) requireClosed(code proto.ResetCode) {
	c.tb.Helper()
	select {
	case <-c.Context().Done():
	case <-time.After(compattest.Patience):
		require.FailNow(c.tb, "not closed")
	}
	var closed *quic.ApplicationError
	cause := context.Cause(c.Context())
	require.True(c.tb, errors.As(cause, &closed), "%T: %v", cause, cause)
	require.True(c.tb, closed.Remote)
	require.Equal(c.tb, code, proto.ResetCode(closed.ErrorCode))
}

// Whoever holds all that there is room for pushes out his own: who comes from the same
// address gets in, and who asks something stays.
func TestConnectionsOfOneAddress(t *testing.T) {
	const room = conns.MinMemory / conns.ConnCost
	little := limit(func(l *Limits) { l.Conns.Memory = conns.MinMemory })
	for name, open := range map[string]func(t *testing.T) *testGateway{
		"a port of its own": func(t *testing.T) *testGateway { return openGateway(t, little) },
		"a listener of somebody's": func(t *testing.T) *testGateway {
			ln, err := quic.ListenAddr("127.0.0.1:0", ServerTLS(compattest.Certificate()), nil)
			require.NoError(t, err)
			t.Cleanup(func() { ln.Close() })
			handlers := newHandlers(t)
			g, err := New(handlers, little)
			require.NoError(t, err)
			t.Cleanup(func() { compattest.RequireCloses(t, g.Close) })
			require.NoError(t, g.Listen(func() (Listener, error) { return ln, nil }))
			return &testGateway{g, ln.Addr().(*net.UDPAddr).AddrPort(), handlers.Routing()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			honest := dialGateway(t, d.addr)
			asks := honest.open()
			asks.ask(&wire.Ping{})
			var idle []*nodeConn
			for range room + 10 {
				idle = append(idle, dialGateway(t, d.addr))
				asks.ask(&wire.Ping{}) // it would fail on a connection that gave way
				honest.open().Close()  // and what it does there counts
			}
			for _, c := range idle[:5] {
				<-c.Context().Done()
				closed, ok := errors.AsType[*quic.ApplicationError](context.Cause(c.Context()))
				require.True(t, ok)
				require.EqualValues(t, network.ConnGarbageCollected, closed.ErrorCode)
			}
			dialGateway(t, d.addr).open().ask(&wire.Ping{})
			asks.ask(&wire.Ping{})
			require.LessOrEqual(t, d.conns.Pool().Stats().Conns, room)
		})
	}
}

// There is room for more connections of one address than a network of Erlang nodes makes.
func TestManyConnectionsOfOneAddress(t *testing.T) {
	d := openGateway(t)
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	from := &quic.Transport{Conn: udp}
	t.Cleanup(func() { from.Close(); udp.Close() })
	var last *quic.Conn
	for i := range 300 {
		last, err = from.Dial(compattest.Context(t), net.UDPAddrFromAddrPort(d.addr), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{dialer.ALPN}}, nil)
		require.NoError(t, err, "connection %d", i)
	}
	(&nodeConn{last, t}).open().ask(&wire.Ping{})
}

// Whoever has one IPv6 address has the /64 around it.
func TestSourcesOfIPv6Networks(t *testing.T) {
	g := newGateway(t)
	of := func(ip string) *source {
		s, account := g.attend(netip.MustParseAddr(ip))
		t.Cleanup(func() { g.part(s, account) })
		return s
	}
	require.Same(t, of("2001:db8::1"), of("2001:db8:0:0:ffff::3"))
	require.NotSame(t, of("2001:db8::1"), of("2001:db8:0:1::1"))
	require.NotSame(t, of("192.0.2.1"), of("192.0.2.2"))
}

// doorman keeps away whom it is told to.
type doorman struct {
	connmgr.ConnectionGater // nil: nothing else is asked
	mu                      sync.Mutex
	accepts, secures        bool
	asked                   []netip.AddrPort
}

func (d *doorman) set(accepts, secures bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accepts, d.secures = accepts, secures
}

func (d *doorman) wasAsked() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

func (d *doorman) InterceptAccept(c network.ConnMultiaddrs) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, addressing.AddrPortOf(c.RemoteMultiaddr()))
	return d.accepts && c.LocalMultiaddr() != nil
}

func (d *doorman) InterceptSecured(dir network.Direction, p peer.ID, c network.ConnMultiaddrs) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.secures && dir == network.DirInbound && p == "" && c.RemoteMultiaddr() != nil
}

// Each connection passes the gater, on a port of the gateway's own too, and again when it
// is asked to.
func TestConnectionGater(t *testing.T) {
	door := &doorman{accepts: true, secures: true}
	var told tracer
	d := openGateway(t, WithConnectionGater(door), WithMetricsTracer(&told))
	let := dialGateway(t, d.addr)
	let.open().ask(&wire.Ping{})
	require.Equal(t, []netip.AddrPort{netip.AddrPortFrom(d.addr.Addr(), let.LocalAddr().(*net.UDPAddr).AddrPort().Port())}, door.wasAsked())
	requireGated := func(c *nodeConn) {
		t.Helper()
		<-c.Context().Done()
		closed, ok := errors.AsType[*quic.ApplicationError](context.Cause(c.Context()))
		require.True(t, ok)
		require.EqualValues(t, network.ConnGated, closed.ErrorCode)
	}
	door.set(false, true)
	requireGated(dialGateway(t, d.addr))
	door.set(true, false)
	requireGated(dialGateway(t, d.addr))
	let.open().ask(&wire.Ping{}) // who was let in stays
	require.Equal(t, 2, told.count(string(RefusedGated)))

	require.Equal(t, 1, d.CloseGated())
	requireGated(let)
	compattest.Eventually(t, func() bool { return told.count("closed") == 1 }, "it is served no more")
	require.Zero(t, d.CloseGated())
}

// A peer can not make the gateway hold half frames without end.
func TestMemoryLimit(t *testing.T) {
	const most = 4 << 20
	d := openGatewayOf(t, newHandlersWith(t, func(l *budget.Limits) { l.Source.Memory = most }))
	conn := dialGateway(t, d.addr)
	small := conn.open()
	small.ask(&wire.Ping{})
	half := compattest.RawFrame(wire.TypePublish, make([]byte, 800_000)...)[:700_000] // 1 MiB of buffer
	var streams []*nodeStream
	for range most>>20 - 1 {
		s := conn.open()
		go s.Write(half)
		streams = append(streams, s)
	}
	held := func() int64 { return d.handlers.Mux().Budget().Usage().Memory }
	compattest.Eventually(t, func() bool { return held() > int64(len(streams))<<20 }, "each has its whole buffer")
	over := conn.open()
	go over.Write(half)
	over.requireReset(proto.ResetRefused)
	require.LessOrEqual(t, held(), int64(most))

	small.ask(&wire.Ping{}) // what has its buffer is still served
	for _, s := range streams {
		s.CancelWrite(0)
	}
	compattest.Eventually(t, func() bool { return held() < 1<<20 }, "all is given back")
	conn.CloseWithError(0, "")
	compattest.Eventually(t, func() bool { return held() == 0 }, "to the last byte")
}

func TestIdleConnections(t *testing.T) {
	d := openGateway(t, limit(func(l *Limits) { l.Idle = soon }))
	session := dialGateway(t, d.addr)
	connected, quiet := session.open(), session.open()
	connected.connect("a node", "")
	quiet.ask(&wire.Ping{})
	quiet.requireReset(proto.ResetTimeout)
	for range 3 { // each time as long as a quiet connection may live
		idle := dialGateway(t, d.addr)
		idle.requireClosed(0)
	}
	connected.ask(&wire.Ping{})
	require.Equal(t, 1, d.guests())

	connected.Close() // without a stream the connection is idle too
	session.requireClosed(0)
}

func TestGatewayCloses(t *testing.T) {
	d := openGateway(t)
	conn, other := dialGateway(t, d.addr), dialGateway(t, d.addr)
	s := conn.open()
	s.connect("a node", "")
	other.open().ask(&wire.Ping{})
	compattest.RequireCloses(t, d.Close)
	_, err := s.in.Next()
	var reset *quic.StreamError
	var closed *quic.ApplicationError
	switch { // the stream or its connection, whichever comes first
	case errors.As(err, &reset):
		require.EqualValues(t, proto.ResetShutdown, reset.ErrorCode)
	default:
		require.ErrorAs(t, err, &closed)
		require.EqualValues(t, proto.ResetShutdown, closed.ErrorCode)
	}
	conn.requireClosed(proto.ResetShutdown)
	other.requireClosed(proto.ResetShutdown)
	require.Empty(t, d.sources)

	compattest.RequireCloses(t, d.Close)
	require.ErrorIs(t, d.Listen(func() (Listener, error) { return nil, net.ErrClosed }), proto.ErrClosed)
	_, err = d.ListenOn(d.addr.String(), compattest.Certificate())
	require.ErrorIs(t, err, proto.ErrClosed)
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(d.addr))
	require.NoError(t, err, "the port is free")
	require.NoError(t, udp.Close())
}

func TestListenOnATakenPort(t *testing.T) {
	d := openGateway(t)
	_, err := openGateway(t).ListenOn(d.addr.String(), compattest.Certificate())
	require.ErrorContains(t, err, d.addr.String())
	require.ErrorContains(t, err, "in use")
	_, err = d.ListenOn("nonsense", compattest.Certificate())
	require.ErrorContains(t, err, "nonsense")
}

// stuck is a listener with connections that nobody took before it was closed.
type stuck struct {
	conns  chan *quic.Conn
	closed chan struct{}
}

func (s stuck) Addr() net.Addr { return &net.UDPAddr{} }
func (s stuck) Close() error   { close(s.closed); return nil }
func (s stuck) Accept(context.Context) (*quic.Conn, error) {
	<-s.closed
	select {
	case c := <-s.conns:
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

func TestCloseLeavesNoConnectionBehind(t *testing.T) {
	ln, err := quic.ListenAddr("127.0.0.1:0", ServerTLS(compattest.Certificate()), nil)
	require.NoError(t, err)
	defer ln.Close()
	client := dialGateway(t, ln.Addr().(*net.UDPAddr).AddrPort())
	conn, err := ln.Accept(compattest.Context(t))
	require.NoError(t, err)
	s := stuck{make(chan *quic.Conn, 1), make(chan struct{})}
	s.conns <- conn
	g := newGateway(t)
	require.NoError(t, g.Listen(func() (Listener, error) { return s, nil }))
	compattest.RequireCloses(t, g.Close)
	client.requireClosed(proto.ResetShutdown)
}

func TestOtherALPNsAreRefused(t *testing.T) {
	d := openGateway(t)
	_, err := quic.DialAddr(compattest.Context(t), d.addr.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
	var refused *quic.TransportError
	require.ErrorAs(t, err, &refused)
	require.True(t, refused.Remote)
}

// What crashed the reference, or hung it, harms neither this gateway nor the
// other streams and connections.
func TestRecordedExchanges(t *testing.T) {
	recorded, err := os.ReadFile("../wire/testdata/macula-0.20.3.json")
	require.NoError(t, err)
	var vectors struct {
		Exchanges []struct {
			Name  string   `json:"name"`
			Sent  []string `json:"sent_frames_hex"`
			Reply string   `json:"recv_hex"`
		}
	}
	require.NoError(t, json.Unmarshal(recorded, &vectors))
	require.Greater(t, len(vectors.Exchanges), 100)

	d := openGateway(t, WithDialer(newDialer(t)))
	watch := dialGateway(t, d.addr).open()
	watch.connect("somebody else", "")
	for _, x := range vectors.Exchanges {
		t.Run(x.Name, func(t *testing.T) {
			conn := dialGateway(t, d.addr)
			neighbour, s := conn.open(), conn.open()
			neighbour.ask(&wire.Ping{})
			for _, text := range x.Sent {
				text, _, _ = strings.Cut(text, ".") // the long ones are recorded in part
				b, err := hex.DecodeString(text)
				require.NoError(t, err)
				s.Write(b) // which may be turned away
			}
			s.Stream.Close()
			answered := 0
			for err = nil; err == nil; answered++ {
				_, err = s.in.Next()
			}
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it ends")
			whole := !strings.Contains(strings.Join(x.Sent, ""), ".") && !strings.Contains(x.Name, "junk")
			if x.Reply != "" && whole {
				require.Positive(t, answered-1, "what the reference answers is answered")
			}
			neighbour.ask(&wire.Ping{})
			watch.ask(&wire.Ping{})
			conn.CloseWithError(0, "")
		})
	}
}

// Replies that nobody reads hold up nobody else.
func TestSlowReader(t *testing.T) {
	d := openGateway(t)
	d.store(t, "k", compattest.Provider("n", wire.Pair{Key: "d", Value: wire.RawBytes(make([]byte, 60_000))}))
	var questions []byte
	for range 200 {
		questions = append(questions, compattest.Frames(t, &wire.FindValue{Key: []byte("k")})...)
	}
	for range 8 {
		s := dialGateway(t, d.addr).open()
		s.connect("a node", "")
		s.write(questions) // 12 MB of replies
	}
	dialGateway(t, d.addr).open().ask(&wire.Ping{})
	compattest.RequireCloses(t, d.Close)
}
