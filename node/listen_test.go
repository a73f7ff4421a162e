package node

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestOnePortForLibp2pAndMacula(t *testing.T) {
	for name, addr := range map[string]ma.Multiaddr{"IPv4": loopback4(), "IPv6": loopback6()} {
		t.Run(name, func(t *testing.T) {
			if addr.Equal(loopback6()) {
				requireIPv6(t)
			}
			on := func(c *hostConfig) { c.listenAddrs = []ma.Multiaddr{addr} }
			gateway := startGateway(t, startHost(t, on))
			app := startHost(t, on)
			serveEcho(gateway.host)

			connect(t, app, gateway.host)
			erlang := dialMacula(t, gateway.endpoint)
			for range 3 { // both protocols, by turns and at the same time
				require.Equal(t, "from a libp2p peer", echo(t, app, gateway.host, "from a libp2p peer"))
				require.Equal(t, "from an Erlang node", echoQUIC(t, erlang, "from an Erlang node"))
			}
			require.Equal(t, dialer.ALPN, erlang.ConnectionState().TLS.NegotiatedProtocol)
			require.Equal(t, "macula-node", erlang.ConnectionState().TLS.PeerCertificates[0].Subject.CommonName)

			ap, ok := quicAddrPort(app.Network().ConnsToPeer(gateway.host.ID())[0].RemoteMultiaddr())
			require.True(t, ok)
			require.Equal(t, ap.String(), erlang.RemoteAddr().String(), "one port")
		})
	}
}

// With relays on, the host has a listening address that is no port.
func TestMaculaBesideRelays(t *testing.T) {
	h := startHost(t, func(c *hostConfig) { c.relay = true })
	require.Len(t, h.Network().ListenAddresses(), 2)
	gateway := startGateway(t, h)
	require.Equal(t, "hello", echoQUIC(t, dialMacula(t, gateway.endpoint), "hello"))
}

// Erlang nodes are dialled from the port that we listen on, and the host still closes in time.
func TestDialFromTheListeningPort(t *testing.T) {
	a, b := startGateway(t, startHost(t)), startGateway(t, startHost(t))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := a.host.quic.DialQUIC(ctx, b.host.Network().ListenAddresses()[0], clientTLS(dialer.ALPN), allowWindowIncrease)
	require.NoError(t, err)
	defer conn.CloseWithError(0, "")
	require.Equal(t, a.endpoint, conn.LocalAddr().String())
	require.Equal(t, "node to node", echoQUIC(t, conn, "node to node"))
}

func TestUnknownALPNIsRefused(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	for _, alpn := range []string{"h3", "macula2", "mesh"} {
		_, err := dialALPN(t, gateway.endpoint, alpn)
		var refused *quic.TransportError
		require.ErrorAs(t, err, &refused, alpn)
		require.True(t, refused.Remote, "refused by the host")
		require.True(t, refused.ErrorCode.IsCryptoError(), "in the handshake: %v", err)
	}
	require.Equal(t, "still open", echoQUIC(t, dialMacula(t, gateway.endpoint), "still open"))
	require.Eventually(t, func() bool { return systemStat(t, gateway.host).NumConnsInbound == 1 }, patience, tick, "the refused ones are not counted on")
}

func TestMaculaNeedsAListener(t *testing.T) {
	h := startHost(t)
	ap, ok := quicAddrPort(h.Network().ListenAddresses()[0])
	require.True(t, ok)
	_, err := dialALPN(t, ap.String(), dialer.ALPN)
	var refused *quic.TransportError
	require.ErrorAs(t, err, &refused)
}

func TestResourceManagerCountsMacula(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	require.Zero(t, systemStat(t, gateway.host).NumConnsInbound)

	const nodes = 3
	var conns []*quic.Conn
	for range nodes {
		conn := dialMacula(t, gateway.endpoint)
		require.Equal(t, "hello", echoQUIC(t, conn, "hello")) // so it was accepted
		conns = append(conns, conn)
	}
	require.Equal(t, nodes, systemStat(t, gateway.host).NumConnsInbound)
	require.Zero(t, transientStat(t, gateway.host).NumConnsInbound, "they leave the room for handshakes free")

	for _, conn := range conns {
		require.NoError(t, conn.CloseWithError(0, ""))
	}
	require.Eventually(t, func() bool { return systemStat(t, gateway.host) == network.ScopeStat{} }, patience, tick, "all is given back")
}

func TestResourceManagerBoundsMaculaWindows(t *testing.T) {
	gateway := startGateway(t, startHost(t))
	client := dialMacula(t, gateway.endpoint)
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
	client := dialMacula(t, gateway.endpoint)
	settled := gateway.conn(t) // to settle a second time is refused, as where there is no room

	_, err := maculaListener{&queue{conns: []*quic.Conn{settled}}, nil}.Accept(t.Context())
	require.ErrorIs(t, err, transport.ErrListenerClosed)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = client.AcceptStream(ctx)
	var closed *quic.ApplicationError
	require.ErrorAs(t, err, &closed)
	require.EqualValues(t, network.ConnResourceLimitExceeded, closed.ErrorCode)
}

// queue is a listener that hands out what it holds and then is closed.
type queue struct {
	quicreuse.Listener
	conns []*quic.Conn
}

func (q *queue) Accept(context.Context) (*quic.Conn, error) {
	if len(q.conns) == 0 {
		return nil, transport.ErrListenerClosed
	}
	next := q.conns[0]
	q.conns = q.conns[1:]
	return next, nil
}

func TestOneGatewayAHost(t *testing.T) {
	requireIPv6(t)
	h := startHost(t, func(c *hostConfig) { c.listenAddrs = append(c.listenAddrs, loopback6()) })
	tlsConf := serverTLS(t)
	open := maculaListeners(h.quic, h, nil, tlsConf)
	require.Len(t, open, 2)
	for _, taken := range h.Network().ListenAddresses() { // in any order
		occupied := tlsConf.Clone()
		occupied.NextProtos = []string{dialer.ALPN}
		occupant, err := h.quic.ListenQUIC(taken, occupied, allowWindowIncrease)
		require.NoError(t, err)

		failed := 0
		for _, opens := range open {
			l, err := opens()
			if err == nil {
				requireCloses(t, l)
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
			requireCloses(t, l)
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
	requireCloses(t, listener)
	require.ErrorIs(t, <-accepted, transport.ErrListenerClosed)

	other := startHost(t)
	connect(t, other, h) // libp2p goes on
}

// openMacula listens for ALPN "macula" on the one port of a host.
func openMacula(t *testing.T, h *peerHost) gateway.Listener {
	t.Helper()
	open := maculaListeners(h.quic, h, nil, serverTLS(t))
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
	service, err := maculadht.New(h.base)
	require.NoError(t, err)
	t.Cleanup(func() { requireCloses(t, service) })
	var lines logLines
	g, err := gateway.New(service.Handlers(), gateway.WithLogger(slog.New(slog.NewTextHandler(&lines, nil))))
	require.NoError(t, err)
	t.Cleanup(func() { requireCloses(t, g) })
	opened := make(chan gateway.Listener, 8)
	open := maculaListeners(h.quic, h, nil, serverTLS(t))[0]
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
	require.Equal(t, 2, lines.count("not served any more"))
	require.Equal(t, 2, lines.count("served again"))
}

func TestParseListenAddr(t *testing.T) {
	for _, good := range []string{
		"/ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/192.0.2.1/udp/0/quic-v1",
		"/ip6/::/udp/9443/quic-v1",
		"/ip6/2001:db8::1/udp/1/quic-v1",
	} {
		addr, err := parseListenAddr(good)
		require.NoError(t, err)
		require.Equal(t, good, addr.String())
	}
	for bad, advice := range map[string]string{
		"":                                       "write for example /ip4/0.0.0.0/udp/9443/quic-v1",
		"0.0.0.0:9443":                           "write for example /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/256.0.0.1/udp/1/quic-v1":           "write for example /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/0.0.0.0/tcp/9443":                  "is not a QUIC address: write /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/192.0.2.1/tcp/4001":                "write /ip4/192.0.2.1/udp/4001/quic-v1",
		"/ip6/::/udp/4001":                       "write /ip6/::/udp/4001/quic-v1",
		"/ip4/0.0.0.0":                           "write /ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip4/0.0.0.0/udp/1/quic-v1/p2p-circuit": "write /ip4/0.0.0.0/udp/1/quic-v1",
		"/ip4/0.0.0.0/udp/1/quic-v1/webtransport": "write /ip4/0.0.0.0/udp/1/quic-v1",
		"/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1": "write /ip6/fe80::1/udp/1/quic-v1",
		"/dns4/example.org/udp/9443/quic-v1":      "write /ip4/0.0.0.0/udp/9443/quic-v1",
		"/p2p-circuit":                            "write /ip4/0.0.0.0/udp/9443/quic-v1",
	} {
		_, err := parseListenAddr(bad)
		require.ErrorContains(t, err, advice, bad)
		require.ErrorContains(t, err, bad)
	}
}

func TestDefaultListenAddrs(t *testing.T) {
	require.Equal(t, []ma.Multiaddr{
		ma.StringCast("/ip4/0.0.0.0/udp/9443/quic-v1"),
		ma.StringCast("/ip6/::/udp/9443/quic-v1"),
	}, anyAddrs(defaultPort))
	for _, addr := range anyAddrs(defaultPort) {
		_, err := parseListenAddr(addr.String())
		require.NoError(t, err)
	}
}

func TestEndpoints(t *testing.T) {
	require.Empty(t, endpointsAt(nil))
	require.Equal(t, []string{
		"https://8.8.8.8:9443",
		"https://1.1.1.1:9443",
		"https://[2606:4700::1111]:9443",
		"https://192.168.1.5:9443",
		"https://[fd00::5]:9443",
		"https://127.0.0.1:9443",
		"https://[::1]:9443",
	}, endpointsAt(multiaddrs(
		"/ip6/::1/udp/9443/quic-v1",
		"/ip4/127.0.0.1/udp/9443/quic-v1",
		"/ip6/fd00::5/udp/9443/quic-v1",
		"/ip4/192.168.1.5/udp/9443/quic-v1",
		"/ip6/2606:4700::1111/udp/9443/quic-v1",
		"/ip4/8.8.8.8/udp/9443/quic-v1",
		"/ip4/1.1.1.1/udp/9443/quic-v1",
		"/ip4/8.8.8.8/udp/9443/quic-v1",        // again
		"/ip6/::ffff:1.1.1.1/udp/9443/quic-v1", // again, in IPv6's clothes
		"/ip4/0.0.0.0/udp/9443/quic-v1",
		"/ip6/::/udp/9443/quic-v1",
		"/ip4/9.9.9.9/udp/0/quic-v1",
		"/ip4/9.9.9.9/tcp/9443",
		"/ip4/9.9.9.9/udp/9443",
		"/ip4/9.9.9.9/udp/9443/quic-v1/webtransport",
		"/ip4/9.9.9.9/udp/9443/quic-v1/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt/p2p-circuit",
		"/dns4/example.org/udp/9443/quic-v1",
		"/ip6/fe80::1/udp/9443/quic-v1",
		"/ip6zone/eth0/ip6/fe80::1/udp/9443/quic-v1",
		"/ip4/224.0.0.1/udp/9443/quic-v1",
	)))
}

func TestBestEndpoint(t *testing.T) {
	public, private, wildcard := "/ip4/8.8.8.8/udp/4001/quic-v1", "/ip4/10.0.0.2/udp/9443/quic-v1", "/ip4/0.0.0.0/udp/9443/quic-v1"
	for name, test := range map[string]struct {
		hostname         string
		confirmed, addrs []ma.Multiaddr
		want             string
	}{
		"hostname first":               {"node.example.org", multiaddrs(public), multiaddrs(private), "https://node.example.org:9443"},
		"then confirmed":               {"", multiaddrs(public), multiaddrs(private, "/ip4/1.1.1.1/udp/9443/quic-v1"), "https://8.8.8.8:4001"},
		"confirmed must be public":     {"", multiaddrs("/ip4/10.9.9.9/udp/1/quic-v1"), multiaddrs(private), "https://10.0.0.2:9443"},
		"confirmed must be plain QUIC": {"", multiaddrs("/ip4/8.8.8.8/udp/1/quic-v1/webtransport"), multiaddrs(private), "https://10.0.0.2:9443"},
		"then an interface":            {"", nil, multiaddrs("/ip4/127.0.0.1/udp/9443/quic-v1", private), "https://10.0.0.2:9443"},
		"loopback at last":             {"", nil, multiaddrs("/ip4/127.0.0.1/udp/9443/quic-v1", wildcard), "https://127.0.0.1:9443"},
		"never a wildcard":             {"", multiaddrs(wildcard), multiaddrs(wildcard, "/ip6/::/udp/9443/quic-v1"), ""},
		"none":                         {"", nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			confirmed := append([]ma.Multiaddr(nil), test.confirmed...)
			got, err := bestEndpoint(test.hostname, defaultPort, test.confirmed, test.addrs)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
			require.Equal(t, confirmed, append([]ma.Multiaddr(nil), test.confirmed...), "the caller's list is left alone")
		})
	}
	_, err := bestEndpoint("0.0.0.0", defaultPort, multiaddrs(public), nil)
	require.ErrorContains(t, err, "wildcard", "a wrong hostname is not passed over in silence")
}

func TestHostnameEndpoint(t *testing.T) {
	for hostname, want := range map[string]string{
		"node.example.org":      "https://node.example.org:9443",
		"node.example.org:4001": "https://node.example.org:4001",
		"my_node-1":             "https://my_node-1:9443",
		"192.0.2.1":             "https://192.0.2.1:9443",
		"192.0.2.1:80":          "https://192.0.2.1:80",
		"2001:db8::1":           "https://[2001:db8::1]:9443",
		"[2001:db8::1]":         "https://[2001:db8::1]:9443",
		"[2001:db8::1]:4001":    "https://[2001:db8::1]:4001",
		"3com.example":          "https://3com.example:9443",
		"Node.Example.ORG":      "https://node.example.org:9443", // or its own gateway would seem another
		"::ffff:192.0.2.1":      "https://192.0.2.1:9443",
	} {
		got, err := hostnameEndpoint(hostname, defaultPort)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for hostname, want := range map[string]string{
		"https://node.example.org":        "without https://",
		"node.example.org/path":           "without a path",
		"0.0.0.0":                         "wildcard",
		"0.0.0.0:9443":                    "wildcard",
		"::":                              "wildcard",
		"[::]:9443":                       "wildcard",
		"::ffff:0.0.0.0":                  "wildcard",
		"fe80::1%eth0":                    "zone",
		"[fe80::1%eth0]:9443":             "zone",
		"256.1.1.1":                       "neither a DNS name nor an IP address",
		"1.2.3":                           "neither a DNS name nor an IP address",
		"two words":                       "neither a DNS name nor an IP address",
		"-node":                           "neither a DNS name nor an IP address",
		"a..b":                            "neither a DNS name nor an IP address",
		"[]":                              "neither a DNS name nor an IP address",
		":9443":                           "neither a DNS name nor an IP address",
		"nöde.example":                    "neither a DNS name nor an IP address",
		"2001:db8::1::2":                  "[2001:db8::1]:9443",
		"node:":                           "has the port",
		"node:http":                       `has the port "http"`,
		"node:0":                          "has the port 0",
		"node:65536":                      "has the port 65536",
		strings.Repeat("a.", 130) + "org": "at most 255",
	} {
		_, err := hostnameEndpoint(hostname, defaultPort)
		require.ErrorContains(t, err, want, hostname)
		require.ErrorContains(t, err, hostname)
	}
	_, err := hostnameEndpoint("node.example.org", 0)
	require.ErrorContains(t, err, "has the port 0")
}

// echoGateway is a host whose port also serves ALPN "macula"; behind it every stream is an echo.
type echoGateway struct {
	host     *peerHost
	endpoint string // host:port
	accepted chan *quic.Conn
}

// startGateway serves ALPN "macula" on h and closes it, in time and before h, when the test ends.
func startGateway(t *testing.T, h *peerHost) *echoGateway {
	t.Helper()
	listener := openMacula(t, h)

	g := &echoGateway{host: h, endpoint: listener.Addr().String(), accepted: make(chan *quic.Conn, 16)}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.serve(listener)
	}()
	t.Cleanup(func() {
		requireCloses(t, listener)
		<-stopped
	})
	return g
}

func (g *echoGateway) serve(listener gateway.Listener) {
	for {
		conn, err := listener.Accept(context.Background())
		if err != nil {
			return
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

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	certificate, err := gateway.SelfSign(nil)
	require.NoError(t, err)
	return gateway.ServerTLS(certificate)
}

// clientTLS verifies nothing, like an Erlang node.
func clientTLS(alpn string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}
}

func dialALPN(t *testing.T, endpoint, alpn string) (*quic.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return quic.DialAddr(ctx, endpoint, clientTLS(alpn), nil)
}

// dialMacula connects as an Erlang node does: by plain QUIC, from a port of its own.
func dialMacula(t *testing.T, endpoint string) *quic.Conn {
	t.Helper()
	conn, err := dialALPN(t, endpoint, dialer.ALPN)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn
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

func systemStat(t *testing.T, h *peerHost) (stat network.ScopeStat) {
	t.Helper()
	require.NoError(t, h.Network().ResourceManager().ViewSystem(func(s network.ResourceScope) error {
		stat = s.Stat()
		return nil
	}))
	return stat
}

func transientStat(t *testing.T, h *peerHost) (stat network.ScopeStat) {
	t.Helper()
	require.NoError(t, h.Network().ResourceManager().ViewTransient(func(s network.ResourceScope) error {
		stat = s.Stat()
		return nil
	}))
	return stat
}

func multiaddrs(texts ...string) []ma.Multiaddr {
	var addrs []ma.Multiaddr
	for _, text := range texts {
		addrs = append(addrs, ma.StringCast(text))
	}
	return addrs
}

func requireIPv6(t *testing.T) {
	t.Helper()
	probe, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	require.NoError(t, probe.Close())
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
		conn, err := from.Dial(ctx, to, clientTLS(dialer.ALPN), nil)
		require.NoError(t, err)
		defer conn.CloseWithError(0, "")
		require.NoError(t, gateway.conn(t).Context().Err(), "it is taken")
	}
}
