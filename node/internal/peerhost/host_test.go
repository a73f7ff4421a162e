package peerhost

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
)

const (
	patience = hosttest.Patience
	tick     = 10 * time.Millisecond

	echoProtocol = protocol.ID("/macula-node/test/echo")
)

func TestHostsConnectOverQUIC(t *testing.T) {
	a, b := startHost(t), startHost(t)
	serveEcho(b)

	conn := connect(t, a, b)
	_, ok := quicaddr.AddrPort(conn.RemoteMultiaddr())
	require.True(t, ok, "%s is plain QUIC", conn.RemoteMultiaddr())
	require.Equal(t, "over libp2p", echo(t, a, b, "over libp2p"))

	agent, err := a.Peerstore().Get(b.ID(), "AgentVersion")
	require.NoError(t, err)
	require.Equal(t, "macula-node/test", agent)
}

func TestHostSpeaksQUICAlone(t *testing.T) {
	h := startHost(t, func(c *Config) { c.ListenAddrs = nil })
	for _, addr := range []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1/webtransport", "/ip4/127.0.0.1/udp/0/webrtc-direct"} {
		require.Error(t, h.Network().Listen(ma.StringCast(addr)), addr)
	}
	require.NoError(t, h.Network().Listen(loopback4()))
}

func TestKadIsOurOwn(t *testing.T) {
	server := startHost(t)
	client := startHost(t, func(c *Config) { c.KadServer = false })

	require.Equal(t, []protocol.ID{"/macula/kad/1.0.0"}, hosttest.KadProtocols(server))
	require.Empty(t, hosttest.KadProtocols(client), "a client answers no query")

	_, err := server.Kad.GetValue(t.Context(), "/pk/anything")
	require.Error(t, err, "kad-dht keeps no values of ours")
}

// A third host that both know tells one how to reach the other.
func TestHostFindsPeerThroughKad(t *testing.T) {
	middle := startHost(t)
	client := func(c *Config) { // clients stand in no routing table, so these two do not come upon each other
		c.KadServer, c.Bootstrap = false, []peer.AddrInfo{addrInfo(middle)}
	}
	asker, sought := startHost(t, client), startHost(t, client)
	serveEcho(sought)
	require.Eventually(t, func() bool {
		return asker.Kad.RoutingTable().Find(middle.ID()) != "" && len(middle.Peerstore().Addrs(sought.ID())) > 0
	}, patience, tick, "they get to know each other")

	require.Empty(t, asker.Peerstore().Addrs(sought.ID()))
	require.Equal(t, "by name alone", echo(t, asker, sought, "by name alone"))
}

// What the bootstrap peers observe is of use only if it is the port that we listen on.
func TestBootstrapLeavesByTheListeningPort(t *testing.T) {
	seed := startHost(t)
	h := startHost(t, func(c *Config) { c.Bootstrap = []peer.AddrInfo{addrInfo(seed)} })
	require.Eventually(t, func() bool { return len(seed.Network().ConnsToPeer(h.ID())) > 0 }, patience, tick)

	seen, ok := quicaddr.AddrPort(seed.Network().ConnsToPeer(h.ID())[0].RemoteMultiaddr())
	require.True(t, ok)
	require.Equal(t, port(t, h), int(seen.Port()))
}

func TestRelayIsASwitch(t *testing.T) {
	h := startHost(t, func(c *Config) { c.Relay, c.HolePunching = true, true })
	require.NoError(t, h.Network().Listen(ma.StringCast("/p2p-circuit")), "the relay transport is there")

	h = startHost(t)
	require.Error(t, h.Network().Listen(ma.StringCast("/p2p-circuit")), "and is not when off")
	require.Empty(t, h.ConfirmedAddrs(), "nobody has confirmed anything on loopback")
}

func TestHostSaysWhereItCanNotListen(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, number, err := net.SplitHostPort(taken.LocalAddr().String())
	require.NoError(t, err)

	cfg := testConfig(t)
	cfg.ListenAddrs = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/" + number + "/quic-v1")}
	_, err = New(cfg) // that it leaves nothing behind is for TestMain to see
	require.ErrorContains(t, err, "/ip4/127.0.0.1/udp/"+number+"/quic-v1")
	require.ErrorContains(t, err, "another program")
}

// On a machine without IPv6 the default addresses are like this: one works and the other can not.
func TestHostListensWhereItCan(t *testing.T) {
	absent := ma.StringCast("/ip6/2001:db8::1/udp/0/quic-v1") // reserved for documentation: no machine has it
	h := startHost(t, func(c *Config) { c.ListenAddrs = append(c.ListenAddrs, absent) })
	require.Len(t, h.Network().ListenAddresses(), 1)
	require.NotZero(t, port(t, h))
}

// testConfig is a host for loopback that answers kad-dht's queries.
func testConfig(t *testing.T) Config {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	return Config{
		Key: key, Accounts: budget.DefaultLimits(), Registerer: prometheus.DefaultRegisterer, ConnsLow: 10, ConnsHigh: 20,
		ListenAddrs: []ma.Multiaddr{loopback4()}, Version: "test", KadServer: true,
	}
}

// startHost starts a host and closes it, in time, when the test ends.
func startHost(t *testing.T, changes ...func(*Config)) *Host {
	t.Helper()
	cfg := testConfig(t)
	for _, change := range changes {
		change(&cfg)
	}
	h, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { hosttest.Close(t, h) })
	return h
}

func connect(t *testing.T, from, to host.Host) network.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, from.Connect(ctx, addrInfo(to)))
	conns := from.Network().ConnsToPeer(to.ID())
	require.NotEmpty(t, conns)
	return conns[0]
}

func serveEcho(h host.Host) {
	h.SetStreamHandler(echoProtocol, func(s network.Stream) {
		defer s.Close()
		_, _ = io.Copy(s, s)
	})
}

// echo sends text on a libp2p stream and returns what comes back.
func echo(t *testing.T, from, to host.Host, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := from.NewStream(ctx, to.ID(), echoProtocol)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(s, text)
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	back, err := io.ReadAll(s)
	require.NoError(t, err)
	return string(back)
}

func addrInfo(h host.Host) peer.AddrInfo {
	return peer.AddrInfo{ID: h.ID(), Addrs: h.Network().ListenAddresses()}
}

func loopback4() ma.Multiaddr { return ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1") }
func loopback6() ma.Multiaddr { return ma.StringCast("/ip6/::1/udp/0/quic-v1") }

// port is the UDP port on which h, which has one listening address, can be reached.
func port(t *testing.T, h host.Host) int {
	t.Helper()
	addrs := h.Network().ListenAddresses()
	require.Len(t, addrs, 1)
	ap, ok := quicaddr.AddrPort(addrs[0])
	require.True(t, ok)
	return int(ap.Port())
}

// An Erlang node makes a connection for each of its lookups; so may several behind one address.
func TestConnectionsOfOneAddress(t *testing.T) {
	const many = 1000
	resources, err := newResourceManager(budget.DefaultLimits(), conns.Limits{})
	require.NoError(t, err)
	defer resources.Close()
	from := ma.StringCast("/ip4/198.51.100.7/udp/4001/quic-v1")
	open := func() (network.ConnManagementScope, error) {
		return resources.OpenConnection(network.DirInbound, false, from)
	}
	for i := range many { // one after the other
		scope, err := open()
		require.NoError(t, err, "connection %d", i)
		scope.Done()
	}
	for i := range many { // and all at once
		scope, err := open()
		require.NoError(t, err, "connection %d at once", i)
		require.NoError(t, scope.SetPeer(peer.ID(fmt.Sprint(i))))
		defer scope.Done()
	}
}
