package peerhost

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestOnePortForLibp2pAndMacula(t *testing.T) {
	for name, addr := range map[string]ma.Multiaddr{"IPv4": loopback4(), "IPv6": loopback6()} {
		t.Run(name, func(t *testing.T) {
			if addr.Equal(loopback6()) {
				hosttest.RequireIPv6(t)
			}
			on := func(c *Config) { c.ListenAddrs = []ma.Multiaddr{addr} }
			gateway := startGateway(t, startHost(t, on))
			app := startHost(t, on)
			serveEcho(gateway.host)

			connect(t, app, gateway.host)
			erlang := hosttest.DialMacula(t, gateway.endpoint)
			for range 3 { // both protocols, by turns and at the same time
				require.Equal(t, "from a libp2p peer", echo(t, app, gateway.host, "from a libp2p peer"))
				require.Equal(t, "from an Erlang node", echoQUIC(t, erlang, "from an Erlang node"))
			}
			require.Equal(t, dialer.ALPN, erlang.ConnectionState().TLS.NegotiatedProtocol)
			require.Equal(t, "macula-node", erlang.ConnectionState().TLS.PeerCertificates[0].Subject.CommonName)

			ap, ok := quicaddr.AddrPort(app.Network().ConnsToPeer(gateway.host.ID())[0].RemoteMultiaddr())
			require.True(t, ok)
			require.Equal(t, ap.String(), erlang.RemoteAddr().String(), "one port")
		})
	}
}

// With relays on, the host has a listening address that is no port.
func TestMaculaBesideRelays(t *testing.T) {
	h := startHost(t, func(c *Config) { c.Relay = true })
	require.Len(t, h.Network().ListenAddresses(), 2)
	gateway := startGateway(t, h)
	require.Equal(t, "hello", echoQUIC(t, hosttest.DialMacula(t, gateway.endpoint), "hello"))
}

// Erlang nodes are dialled from the port that we listen on, and the host still closes in time.
func TestDialFromTheListeningPort(t *testing.T) {
	a, b := startGateway(t, startHost(t)), startGateway(t, startHost(t))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := a.host.QUIC.DialQUIC(ctx, b.host.Network().ListenAddresses()[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{dialer.ALPN}}, allowWindowIncrease)
	require.NoError(t, err)
	defer conn.CloseWithError(0, "")
	require.Equal(t, a.endpoint, conn.LocalAddr().String())
	require.Equal(t, "node to node", echoQUIC(t, conn, "node to node"))
}

func TestUnknownALPNIsRefused(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	for _, alpn := range []string{"h3", "macula2", "mesh"} {
		_, err := hosttest.DialALPN(t, gateway.endpoint, alpn)
		var refused *quic.TransportError
		require.ErrorAs(t, err, &refused, alpn)
		require.True(t, refused.Remote, "refused by the host")
		require.True(t, refused.ErrorCode.IsCryptoError(), "in the handshake: %v", err)
	}
	require.Equal(t, "still open", echoQUIC(t, hosttest.DialMacula(t, gateway.endpoint), "still open"))
	require.Eventually(t, func() bool { return systemStat(t, gateway.host).NumConnsInbound == 1 }, patience, tick, "the refused ones are not counted on")
}

func TestMaculaNeedsAListener(t *testing.T) {
	h := startHost(t)
	ap, ok := quicaddr.AddrPort(h.Network().ListenAddresses()[0])
	require.True(t, ok)
	_, err := hosttest.DialALPN(t, ap.String(), dialer.ALPN)
	var refused *quic.TransportError
	require.ErrorAs(t, err, &refused)
}

func TestResourceManagerCountsMacula(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	require.Zero(t, systemStat(t, gateway.host).NumConnsInbound)

	const nodes = 3
	var open []*quic.Conn
	for range nodes {
		conn := hosttest.DialMacula(t, gateway.endpoint)
		require.Equal(t, "hello", echoQUIC(t, conn, "hello")) // so it was accepted
		open = append(open, conn)
	}
	require.Equal(t, nodes, systemStat(t, gateway.host).NumConnsInbound)
	require.Zero(t, transientStat(t, gateway.host).NumConnsInbound, "they leave the room for handshakes free")

	for _, conn := range open {
		require.NoError(t, conn.CloseWithError(0, ""))
	}
	require.Eventually(t, func() bool { return systemStat(t, gateway.host) == network.ScopeStat{} }, patience, tick, "all is given back")
}

func TestResourceManagerBoundsMaculaWindows(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	client := hosttest.DialMacula(t, gateway.endpoint)
	require.Equal(t, "hello", echoQUIC(t, client, "hello"))
	conn := gateway.conn(t)

	const window = 1 << 20
	require.True(t, allowWindowIncrease(conn, window))
	require.EqualValues(t, window, systemStat(t, gateway.host).Memory)
	require.False(t, allowWindowIncrease(conn, 1<<40), "more than there is")
	require.True(t, allowWindowIncrease(client, 1<<40), "nobody counts a connection of the test's own")

	require.NoError(t, client.CloseWithError(0, ""))
	require.Eventually(t, func() bool { return systemStat(t, gateway.host).Memory == 0 }, patience, tick)
	require.False(t, allowWindowIncrease(conn, window), "a closed connection gets nothing")
}

// A connection without room is closed, with its reason, and those after it are still accepted.
func TestMaculaConnectionWithoutRoom(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	client := hosttest.DialMacula(t, gateway.endpoint)
	settled := gateway.conn(t) // to settle a second time is refused, as where there is no room
	_, err := gateway.settles.Settle(settled)
	require.Error(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = client.AcceptStream(ctx)
	var closed *quic.ApplicationError
	require.ErrorAs(t, err, &closed)
	require.EqualValues(t, network.ConnResourceLimitExceeded, closed.ErrorCode)
}

func TestOneGatewayAHost(t *testing.T) {
	hosttest.RequireIPv6(t)
	h := startHost(t, func(c *Config) { c.ListenAddrs = append(c.ListenAddrs, loopback6()) })
	tlsConf := hosttest.ServerTLS(t)
	open := h.MaculaListeners(tlsConf)
	require.Len(t, open, 2)
	for _, taken := range h.Network().ListenAddresses() { // in any order
		occupied := tlsConf.Clone()
		occupied.NextProtos = []string{dialer.ALPN}
		occupant, err := h.QUIC.ListenQUIC(taken, occupied, allowWindowIncrease)
		require.NoError(t, err)

		failed := 0
		for _, opens := range open {
			l, err := opens()
			if err == nil {
				hosttest.Close(t, l)
				continue
			}
			failed++
			require.ErrorContains(t, err, taken.String())
			require.ErrorContains(t, err, dialer.ALPN)
		}
		require.Equal(t, 1, failed)

		require.NoError(t, occupant.Close())
		for _, opens := range open {
			l, err := opens()
			require.NoError(t, err, "the failed call left nothing open")
			hosttest.Close(t, l)
		}
	}
	require.Equal(t, []string{dialer.ALPN}, tlsConf.NextProtos, "the caller's configuration is not written to")
}

func TestMaculaListenerCloses(t *testing.T) {
	h := startHost(t)
	listener := openMacula(t, h)
	accepted := make(chan error, 1)
	go func() {
		_, err := listener.Accept(t.Context())
		accepted <- err
	}()
	hosttest.Close(t, listener)
	require.ErrorIs(t, <-accepted, transport.ErrListenerClosed)

	other := startHost(t)
	connect(t, other, h) // libp2p goes on
}

// openMacula listens for ALPN "macula" on the one port of a host.
func openMacula(t *testing.T, h *Host) gateway.Listener {
	t.Helper()
	open := h.MaculaListeners(hosttest.ServerTLS(t))
	require.Len(t, open, 1)
	listener, err := open[0]()
	require.NoError(t, err)
	return listener
}

// A listener that ends under the gateway is opened again, on the port of the host, which serves libp2p peers all the
// while.
func TestMaculaIsListenedForAgain(t *testing.T) {
	t.Parallel()
	h := startHost(t)
	service, err := maculadht.New(h.Base)
	require.NoError(t, err)
	t.Cleanup(func() { hosttest.Close(t, service) })
	var lines hosttest.Log
	g, err := gateway.New(service.Handlers(), gateway.WithLogger(slog.New(slog.NewTextHandler(&lines, nil))))
	require.NoError(t, err)
	t.Cleanup(func() { hosttest.Close(t, g) })
	opened := make(chan gateway.Listener, 8)
	open := h.MaculaListeners(hosttest.ServerTLS(t))[0]
	require.NoError(t, g.Listen(func() (gateway.Listener, error) {
		ln, err := open()
		if err == nil {
			opened <- ln
		}
		return ln, err
	}))
	at := g.Listening()[0]
	require.NoError(t, at.Err)
	ping := func() error {
		d, err := dialer.New()
		require.NoError(t, err)
		defer d.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err = client.Ping(ctx, d, routing.Contact{Endpoint: "https://" + at.Addr.String()})
		return err
	}
	require.NoError(t, ping())

	for range 2 {
		require.NoError(t, (<-opened).Close())
		require.Eventually(t, func() bool { return g.Listening()[0].Err != nil }, patience, tick)
		connect(t, startHost(t), h)
		require.Eventually(t, func() bool { return g.Listening()[0].Err == nil }, 2*patience, tick)
		require.NoError(t, ping())
	}
	require.Equal(t, at.Addr, g.Listening()[0].Addr)
	require.True(t, g.Listening()[0].Since.After(at.Since))
	require.Equal(t, 2, lines.Count("not served any more"))
	require.Equal(t, 2, lines.Count("served again"))
}

// echoGateway is a host whose port also serves ALPN "macula"; behind it every stream is an echo.
type echoGateway struct {
	host     *Host
	endpoint string // host:port
	accepted chan *quic.Conn
	settles  *conns.Manager // as that of a gateway does
}

// startGateway serves ALPN "macula" on h and closes it, in time and before h, when the test ends.
func startGateway(t *testing.T, h *Host) *echoGateway {
	t.Helper()
	listener := openMacula(t, h)

	pool, err := conns.NewPool(conns.Limits{})
	require.NoError(t, err)
	g := &echoGateway{
		host: h, endpoint: listener.Addr().String(), accepted: make(chan *quic.Conn, 16),
		settles: conns.NewManager(&network.NullResourceManager{}, pool),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.serve(listener)
	}()
	t.Cleanup(func() {
		hosttest.Close(t, listener)
		<-stopped
		hosttest.Close(t, g.settles)
		require.Zero(t, pool.Stats().Conns, "the host's own manager counts them")
	})
	return g
}

func (g *echoGateway) serve(listener gateway.Listener) {
	for {
		conn, err := listener.Accept(context.Background())
		if err != nil {
			return
		}
		if _, err := g.settles.Settle(conn); err != nil {
			continue
		}
		g.accepted <- conn
		go func() { // until the connection closes, with its client or with the host
			for {
				stream, err := conn.AcceptStream(context.Background())
				if err != nil {
					return
				}
				_, _ = io.Copy(stream, stream)
				_ = stream.Close()
			}
		}()
	}
}

// conn returns the next connection that the gateway has accepted.
func (g *echoGateway) conn(t *testing.T) *quic.Conn {
	t.Helper()
	select {
	case conn := <-g.accepted:
		return conn
	case <-time.After(patience):
		require.FailNow(t, "no connection")
		return nil
	}
}

// echoQUIC sends text on a QUIC stream and returns what comes back.
func echoQUIC(t *testing.T, conn *quic.Conn, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := conn.OpenStreamSync(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(stream, text)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	back, err := io.ReadAll(stream)
	require.NoError(t, err)
	return string(back)
}

func systemStat(t *testing.T, h *Host) (stat network.ScopeStat) {
	t.Helper()
	require.NoError(t, h.Network().ResourceManager().ViewSystem(func(s network.ResourceScope) error {
		stat = s.Stat()
		return nil
	}))
	return stat
}

func transientStat(t *testing.T, h *Host) (stat network.ScopeStat) {
	t.Helper()
	require.NoError(t, h.Network().ResourceManager().ViewTransient(func(s network.ResourceScope) error {
		stat = s.Stat()
		return nil
	}))
	return stat
}

// Connections that share a UDP port, as those of one Erlang node may, do not share a budget.
func TestManyMaculaConnectionsFromOnePort(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer socket.Close()
	from := &quic.Transport{Conn: socket}
	defer from.Close()
	to, err := net.ResolveUDPAddr("udp4", gateway.endpoint)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 20 {
		conn, err := from.Dial(ctx, to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{dialer.ALPN}}, nil)
		require.NoError(t, err)
		defer conn.CloseWithError(0, "")
		require.NoError(t, gateway.conn(t).Context().Err(), "it is taken")
	}
}
