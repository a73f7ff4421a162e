package node

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

var (
	publicAddr  = ma.StringCast("/ip4/9.9.9.9/udp/9443/quic-v1")
	publicAddr6 = ma.StringCast("/ip6/2620:fe::9/udp/9443/quic-v1")
)

// verdict is an event of AutoNAT v2.
type verdict = event.EvtHostReachableAddrsChanged

func TestAutoMode(t *testing.T) {
	const server, cl = maculadht.ModeServer, maculadht.ModeClient
	one, two := []ma.Multiaddr{publicAddr}, []ma.Multiaddr{publicAddr, publicAddr6}
	tests := []struct {
		name       string
		e          verdict
		fromServer maculadht.Mode
		fromClient maculadht.Mode
		why        string
	}{
		{"no public address", verdict{}, server, server, "no public address"},
		{"nothing known yet", verdict{Unknown: two}, server, cl, "not known yet whether /ip4/9.9.9.9"},
		{"one reachable", verdict{Reachable: one}, server, server, "/ip4/9.9.9.9/udp/9443/quic-v1 can be reached"},
		{"one unreachable", verdict{Unreachable: one}, cl, cl, "none of the public addresses can be reached"},
		{"all unreachable", verdict{Unreachable: two}, cl, cl, "/ip6/2620:fe::9"},
		{"some reachable", verdict{Reachable: one, Unreachable: two[1:]}, server, server, "can be reached"},
		{"some reachable, some unknown", verdict{Reachable: one, Unknown: two[1:]}, server, server, "can be reached"},
		{"some unreachable, some unknown", verdict{Unreachable: one, Unknown: two[1:]}, server, cl, "not known yet whether /ip6/2620:fe::9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, why := autoMode(server, test.e)
			require.Equal(t, test.fromServer, got, "a server")
			require.Contains(t, why, test.why)
			got, why = autoMode(cl, test.e)
			require.Equal(t, test.fromClient, got, "a client")
			require.Contains(t, why, test.why)
		})
	}
}

// The router is asked to forward a port only where others than this machine
// could use it: to ask is to send multicast.
func inMode(m Mode) func(*Config) { return func(c *Config) { c.Mode = m } }

// lists reports whether kad-dht and our own table both have other, or neither.
func (n *Node) lists(other *Node, want bool) bool {
	return n.knows(other) == want && (n.host.Kad.RoutingTable().Find(other.Host().ID()) != "") == want
}

// serves reports whether a node tells that it answers.
func serves(n *Node) bool {
	for _, id := range n.Host().Mux().Protocols() {
		if id == proto.ProtocolID {
			return len(hosttest.KadProtocols(n.Host())) == 1
		}
	}
	return false
}

func TestClientNode(t *testing.T) {
	a := startNode(t)
	b := startNode(t, bootstrappedBy(a))
	require.Equal(t, ModeAuto, a.Mode())
	cl := startNode(t, bootstrappedBy(a, b), inMode(ModeClient))
	require.Equal(t, ModeClient, cl.Mode())
	require.False(t, serves(cl))
	require.Eventually(t, func() bool {
		return a.lists(b, true) && b.lists(a, true) && cl.lists(a, true) && cl.lists(b, true)
	}, 4*patience, tick, "it knows the others")

	value := provider("client")
	replicas, err := cl.Service().Store(patient(t), []byte("k"), value)
	require.NoError(t, err)
	require.Len(t, replicas.Acknowledged, 2)
	found, err := b.Service().FindValues(patient(t), []byte("k"))
	require.NoError(t, err)
	require.Len(t, found.Values, 1)
	require.NoError(t, client.Put(patient(t), a.Dialer(), erlangContact(b), procedures.StoreArgs{Key: []byte("other"), Value: value}))
	found, err = cl.Service().FindValues(patient(t), []byte("other"))
	require.NoError(t, err)
	require.Len(t, found.Values, 1)

	require.True(t, a.lists(cl, false) && b.lists(cl, false), "nobody lists it")
	_, err = client.Ping(patient(t), a.Dialer(), erlangContact(cl))
	require.NoError(t, err, "an Erlang node of its own network is served")
}

// emitter lets a test say what AutoNAT v2 found out.
func emitter(t *testing.T, h host.Host) func(verdict) {
	t.Helper()
	e, err := h.EventBus().Emitter(new(verdict))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return func(v verdict) { require.NoError(t, e.Emit(v)) }
}

// logged passes on what is logged.
type logged chan string

func (c logged) Write(line []byte) (int, error) {
	select {
	case c <- string(line):
	default: // a test reads few of them
	}
	return len(line), nil
}

func (c logged) wait(t *testing.T, want ...string) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line := <-c:
			if containsAll(line, want) {
				return
			}
		case <-limit:
			require.FailNow(t, "not logged in time", "%q", want)
		}
	}
}

func containsAll(text string, want []string) bool {
	for _, w := range want {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func TestAutoFollowsAutoNAT(t *testing.T) {
	log := make(logged, 1000)
	a := startNode(t)
	b := startNode(t, bootstrappedBy(a), func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	listed := func(want bool) {
		t.Helper()
		require.Eventually(t, func() bool { return a.lists(b, want) && serves(b) == want }, 4*patience, tick)
	}
	tell := emitter(t, b.Host())
	listed(true)
	for range 2 {
		tell(verdict{Unreachable: []ma.Multiaddr{publicAddr}})
		log.wait(t, "mode changes", "from=server to=client", publicAddr.String())
		listed(false)
		tell(verdict{Unreachable: []ma.Multiaddr{publicAddr}, Unknown: []ma.Multiaddr{publicAddr6}})
		log.wait(t, "mode stays", "mode=client", publicAddr6.String())
		tell(verdict{Reachable: []ma.Multiaddr{publicAddr}})
		log.wait(t, "mode changes", "from=client to=server", publicAddr.String())
		listed(true)
	}
	require.Equal(t, ModeAuto, b.Mode(), "what it was told to be")
}

// What AutoNAT v2 finds out is for auto alone.
func TestFixedModesStay(t *testing.T) {
	for mode, want := range map[Mode]bool{ModeServer: true, ModeClient: false} {
		t.Run(string(mode), func(t *testing.T) {
			n := startNode(t, inMode(mode))
			auto := startNode(t)
			for _, v := range []verdict{{Unreachable: []ma.Multiaddr{publicAddr}}, {}, {Reachable: []ma.Multiaddr{publicAddr}}} {
				emitter(t, n.Host())(v)
			}
			emitter(t, auto.Host())(verdict{Unreachable: []ma.Multiaddr{publicAddr}})
			require.Eventually(t, func() bool { return !serves(auto) }, patience, tick)
			require.Equal(t, want, serves(n))
		})
	}
}

func TestBadMode(t *testing.T) {
	_, err := New(Config{Key: newKey(t), Listen: []string{onLoopback4}, Mode: "Server"})
	require.ErrorContains(t, err, `mode "Server": write auto, server or cl`)
}
