package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	onLoopback4 = "/ip4/127.0.0.1/udp/0/quic-v1"
	onLoopback6 = "/ip6/::1/udp/0/quic-v1"
)

func newKey(t *testing.T) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	return key
}

// startNode starts a node on loopback and closes it, in time, when the test
// ends.
func startNode(t *testing.T, changes ...func(*Config)) *Node {
	t.Helper()
	cfg := Config{Key: newKey(t), Listen: []string{onLoopback4}, Version: "test"}
	for _, change := range changes {
		change(&cfg)
	}
	n, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { hosttest.Close(t, n) })
	return n
}

func bootstrappedBy(nodes ...*Node) func(*Config) {
	return func(c *Config) {
		for _, n := range nodes {
			c.Bootstrap = append(c.Bootstrap, n.Addrs()[0].String())
		}
	}
}

func (n *Node) knows(other *Node) bool {
	c, ok := n.Service().Routing().Contact(other.ID())
	return ok && c.Verified && c.Peer == other.Host().ID()
}

// erlangContact is how a node is reached by its endpoint alone.
func erlangContact(n *Node) routing.Contact { return routing.Contact{Endpoint: n.Endpoint()} }

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// provider returns a value that Erlang nodes are served, another for each name: a
// short node_id would crash them.
func provider(name string) wire.Raw {
	return wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText(fmt.Sprintf("%x", sha256.Sum256([]byte(name))))})
}

func TestBootstrapAdmitsBoth(t *testing.T) {
	a := startNode(t)
	b := startNode(t, bootstrappedBy(a), func(c *Config) { c.Hostname = "b.example.org" })
	require.Eventually(t, func() bool { return a.knows(b) && b.knows(a) }, 2*patience, tick)
	c, _ := a.Service().Routing().Contact(b.ID())
	require.Equal(t, b.Endpoint(), c.Endpoint)
	require.Contains(t, b.Endpoint(), "https://b.example.org:")
	c, _ = b.Service().Routing().Contact(a.ID())
	require.Equal(t, a.Endpoint(), c.Endpoint)
}

func TestOtherRealmIsNotAdmitted(t *testing.T) {
	a := startNode(t)
	b := startNode(t, bootstrappedBy(a), func(c *Config) { c.Realm = "another" })
	same := startNode(t, bootstrappedBy(a))
	require.Eventually(t, func() bool {
		return same.knows(a) && len(b.Host().Network().ConnsToPeer(a.Host().ID())) > 0
	}, 2*patience, tick)
	require.False(t, a.knows(b))
	require.False(t, b.knows(a))
	require.Equal(t, "another", b.Realm())
	require.Equal(t, proto.DefaultRealm, a.Realm())
}

// What an Erlang node stores is found by a libp2p peer, and the other way round,
// through one UDP port.
func TestBothDialectsOnOnePort(t *testing.T) {
	a := startNode(t)
	b := startNode(t, bootstrappedBy(a))
	require.Eventually(t, func() bool { return b.knows(a) }, 2*patience, tick)
	contact, _ := b.Service().Routing().Contact(a.ID())
	addr, ok := quicaddr.AddrPort(contact.Addrs[0])
	require.True(t, ok)
	require.Equal(t, "https://"+addr.String(), a.Endpoint(), "one port")

	ctx := patient(t)
	require.NoError(t, client.Put(ctx, b.Dialer(), erlangContact(a), procedures.StoreArgs{Key: []byte("k"), Value: provider("erlang")}))
	reply, err := client.FindValue(ctx, b.Service().Client(), contact, []byte("k"))
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{provider("erlang")}, reply.Values)
	require.Len(t, reply.ExpiresIn, 1)

	require.NoError(t, client.Put(ctx, b.Service().Client(), contact, procedures.StoreArgs{Key: []byte("k"), Value: provider("libp2p")}))
	reply, err = client.FindValue(ctx, b.Dialer(), erlangContact(a), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{provider("libp2p"), provider("erlang")}, reply.Values)
	require.Empty(t, reply.ExpiresIn)

	probe, err := b.Dialer().Query(ctx, erlangContact(a), &wire.NATProbe{NodeID: []byte("b"), RequestID: []byte("r")})
	require.NoError(t, err)
	require.EqualValues(t, b.port, probe.(*wire.NATProbeReply).ReflexivePort, "dialled from the port that is listened on")
}

// connectRaw CONNECTs to a node as an Erlang node does and returns the stream.
func connectRaw(t *testing.T, conn *quic.Conn, endpoint string) (*quic.Stream, *framing.Reader) {
	t.Helper()
	s, err := conn.OpenStreamSync(patient(t))
	require.NoError(t, err)
	require.NoError(t, s.SetDeadline(time.Now().Add(2*patience)))
	frame, err := framing.AppendFrame(nil, &wire.Connect{Version: "1.0", NodeID: []byte("erlang"), RealmID: proto.DefaultRealm, Endpoint: endpoint})
	require.NoError(t, err)
	_, err = s.Write(frame)
	require.NoError(t, err)
	in := framing.NewReader(s)
	f, err := in.Next()
	require.NoError(t, err)
	require.Equal(t, wire.TypePong, f.Type)
	return s, in
}

// A gateway verifies an endpoint by itself. Libp2p peers are told of it; Erlang
// nodes are not, as two that know each other stall.
func TestErlangNodeBecomesAContact(t *testing.T) {
	a, erlang, other := startNode(t), startNode(t), startNode(t)
	conn := hosttest.DialMacula(t, strings.TrimPrefix(a.Endpoint(), "https://"))
	connectRaw(t, conn, erlang.Endpoint())
	require.Eventually(t, func() bool {
		c, ok := a.Service().Routing().Contact(routing.IDFromBytes([]byte("erlang")))
		return ok && c.IsErlang() && c.Verified && c.Endpoint == erlang.Endpoint()
	}, 2*patience, tick)
	told := func(asker routing.Network, to routing.Contact) (told []string) {
		list, err := client.ListGateways(patient(t), asker, to)
		require.NoError(t, err)
		for _, g := range list {
			told = append(told, endpoints.Endpoint{Host: g.Host, Port: uint16(g.Port)}.String())
		}
		return told
	}
	host := a.Host()
	peer := routing.Contact{ID: a.ID(), Peer: host.ID(), Addrs: host.Addrs()}
	require.Equal(t, []string{a.Endpoint()}, told(other.Dialer(), erlangContact(a)))
	require.Equal(t, []string{a.Endpoint(), erlang.Endpoint()}, told(other.Service().Client(), peer))
}

func TestNodeCloses(t *testing.T) {
	t.Parallel()
	t.Run("with Erlang nodes connected", func(t *testing.T) {
		n := startNode(t)
		conn := hosttest.DialMacula(t, strings.TrimPrefix(n.Endpoint(), "https://"))
		_, in := connectRaw(t, conn, "https://127.0.0.1:1") // where nobody answers the verification
		hosttest.Close(t, n)
		_, err := in.Next()
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, n.Close(), "once more")
	})
	t.Run("while a bootstrap peer does not answer", func(t *testing.T) {
		silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer silent.Close()
		n := startNode(t, func(c *Config) {
			c.Bootstrap = []string{"/ip4/127.0.0.1/udp/" + portIn(t, silent) + "/quic-v1/p2p/" + peerOf(t, newKey(t)).String()}
		})
		dialled := make([]byte, 2000) // so that the dial is under way
		require.NoError(t, silent.SetReadDeadline(time.Now().Add(2*patience)))
		_, _, err = silent.ReadFrom(dialled)
		require.NoError(t, err)
		hosttest.Close(t, n)
	})
	t.Run("while its own question is not answered", func(t *testing.T) {
		t.Parallel()
		silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer silent.Close()
		n := startNode(t)
		result := make(chan error, 1)
		go func() {
			_, err := client.Ping(context.Background(), n.Dialer(), routing.Contact{Endpoint: "https://127.0.0.1:" + portIn(t, silent)})
			result <- err
		}()
		require.NoError(t, silent.SetReadDeadline(time.Now().Add(2*patience)))
		_, _, err = silent.ReadFrom(make([]byte, 2000))
		require.NoError(t, err)
		hosttest.Close(t, n)
		require.ErrorIs(t, <-result, proto.ErrClosed)
	})
}

func portIn(t *testing.T, c net.PacketConn) string {
	t.Helper()
	_, number, err := net.SplitHostPort(c.LocalAddr().String())
	require.NoError(t, err)
	return number
}

func peerOf(t *testing.T, key crypto.PrivKey) peer.ID {
	t.Helper()
	id, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	return id
}

// The port of a bootstrap peer that is not there yet refuses connections.
func TestLateBootstrapPeerIsJoined(t *testing.T) {
	reserved, err := quic.ListenAddr("127.0.0.1:0", hosttest.ServerTLS(t), &quic.Config{
		GetConfigForClient: func(*quic.ClientInfo) (*quic.Config, error) { return nil, net.ErrClosed },
	})
	require.NoError(t, err)
	lateKey, at := newKey(t), reserved.Addr().(*net.UDPAddr).AddrPort()
	listen := "/ip4/127.0.0.1/udp/" + strconv.Itoa(int(at.Port())) + "/quic-v1"
	tried := make(chan struct{}, 100)
	early := startNode(t, func(c *Config) {
		c.Bootstrap = []string{listen + "/p2p/" + peerOf(t, lateKey).String()}
		c.Log = slog.New(slog.NewTextHandler(notReached(tried), nil))
	})
	select {
	case <-tried:
	case <-time.After(4 * patience):
		require.FailNow(t, "it does not say that it has not reached the peer")
	}
	require.NoError(t, reserved.Close())
	requireFree(t, at)
	late := startNode(t, func(c *Config) { c.Key, c.Listen = lateKey, []string{listen} })
	require.Eventually(t, func() bool { return early.knows(late) && late.knows(early) }, 6*patience, tick)
}

// notReached passes on that the log says a bootstrap peer was not reached.
type notReached chan struct{}

func (c notReached) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "bootstrap peer not reached") {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

func requireFree(t *testing.T, at netip.AddrPort) {
	t.Helper()
	require.Eventually(t, func() bool {
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err == nil && udp.Close() == nil
	}, patience, tick)
}

func TestTwoAddresses(t *testing.T) {
	hosttest.RequireIPv6(t)
	n := startNode(t, func(c *Config) { c.Listen = []string{onLoopback6, onLoopback4} })
	require.Len(t, n.Addrs(), 2)
	require.Len(t, n.Endpoints(), 2)
	other := startNode(t, func(c *Config) { c.Listen = []string{onLoopback4, onLoopback6} })
	for _, endpoint := range n.Endpoints() {
		_, err := client.Ping(patient(t), other.Dialer(), routing.Contact{Endpoint: endpoint})
		require.NoError(t, err, endpoint)
	}
	six, err := endpoints.Parse(n.Endpoints()[1])
	require.NoError(t, err)
	require.Equal(t, n.port, int(six.Port), "the port of the first address")
}

func TestEndpointTold(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Hostname = "node.example.org:4001" })
	require.Equal(t, "https://node.example.org:4001", n.Endpoint())
	require.Equal(t, []string{"https://node.example.org:4001", "https://127.0.0.1:" + strconv.Itoa(n.port)}, n.Endpoints())
	require.Equal(t, routing.IDFromPeer(n.Host().ID()), n.ID())
}
