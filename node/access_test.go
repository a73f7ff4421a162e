package node

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// list is a file of who may come, or may not.
type list struct {
	t    *testing.T
	file string
}

func newList(t *testing.T, entries ...string) list {
	l := list{t, filepath.Join(t.TempDir(), "list")}
	l.write(entries...)
	return l
}

func (l list) write(entries ...string) {
	l.t.Helper()
	require.NoError(l.t, os.WriteFile(l.file, []byte(strings.Join(entries, "\n")), 0o600))
}

func at(ip string) func(*Config) {
	return func(c *Config) { c.Listen = []string{"/ip4/" + ip + "/udp/0/quic-v1"} }
}

// connects has one node connect to another, at the address of the family that it listens on.
func connects(t *testing.T, from, to *Node) error {
	t.Helper()
	family := func(a ma.Multiaddr) int { return a[0].Code() }
	addrs := slices.DeleteFunc(to.Host().Addrs(), func(a ma.Multiaddr) bool { return family(a) != family(from.Host().Addrs()[0]) })
	from.Host().Peerstore().ClearAddrs(to.Host().ID())
	err := from.Host().Connect(network.WithForceDirectDial(patient(t), "test"), peer.AddrInfo{ID: to.Host().ID(), Addrs: addrs})
	if err != nil {
		return err
	}
	// Who is refused after the handshake learns of it a moment later than who dialled has it done.
	s, err := from.Host().NewStream(patient(t), to.Host().ID(), "/ipfs/id/1.0.0")
	if err == nil {
		_, err = s.Read(make([]byte, 1))
		s.Reset()
	}
	return err
}

// erlangFrom connects as an Erlang node at an address, and asks for a sign of life.
func erlangFrom(t *testing.T, ip string, n *Node) (*quic.Conn, error) {
	t.Helper()
	conn, err := dialFrom(t, ip, n)
	if err != nil {
		return nil, err
	}
	return conn, pings(patient(t), conn)
}

// dialFrom connects as an Erlang node at an address.
func dialFrom(t *testing.T, ip string, n *Node) (*quic.Conn, error) {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
	require.NoError(t, err)
	transport := &quic.Transport{Conn: udp}
	t.Cleanup(func() { transport.Close(); udp.Close() })
	to, err := net.ResolveUDPAddr("udp4", strings.TrimPrefix(n.Endpoint(), "https://"))
	require.NoError(t, err)
	conn, err := transport.Dial(patient(t), to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{dialer.ALPN}}, nil)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn, nil
}

func pings(ctx context.Context, conn *quic.Conn) error {
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	frame, err := framing.AppendFrame(nil, &wire.Ping{})
	if err != nil {
		return err
	}
	if _, err = s.Write(frame); err == nil {
		_, err = s.Read(make([]byte, 1))
	}
	return err
}

func TestAllowAndDeny(t *testing.T) {
	hosttest.RequireIPv6(t)
	friend, stranger := newKey(t), newKey(t)
	friendID := peerOf(t, friend).String()
	for name, test := range map[string]struct {
		allow, deny                          []string
		friend, stranger, neighbour, erlangs bool // who comes: the neighbour from ::1, the others from 127.0.0.1
	}{
		"nobody denied":          {nil, []string{"192.0.2.0/24"}, true, true, true, true},
		"denied by peer id":      {nil, []string{friendID}, false, true, true, true},
		"denied by address":      {nil, []string{"127.0.0.1/32"}, false, false, true, false},
		"allowed by peer id":     {[]string{friendID}, nil, true, false, false, false},
		"allowed by address":     {[]string{"127.0.0.1"}, nil, true, true, false, true},
		"allowed by either":      {[]string{friendID, "::1"}, nil, true, false, true, false},
		"denied goes before":     {[]string{"127.0.0.0/8"}, []string{friendID, "::1"}, false, true, false, true},
		"loopback is not exempt": {[]string{"192.0.2.0/24"}, nil, false, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, func(c *Config) {
				c.Listen = []string{onLoopback4, onLoopback6}
				c.Allow, c.Deny = newList(t, test.allow...).file, newList(t, test.deny...).file
			})
			f := startNode(t, func(c *Config) { c.Key = friend })
			s := startNode(t, func(c *Config) { c.Key = stranger })
			other := startNode(t, func(c *Config) { c.Listen = []string{onLoopback6} })
			for _, who := range []struct {
				name  string
				node  *Node
				comes bool
			}{{"friend", f, test.friend}, {"stranger", s, test.stranger}, {"neighbour", other, test.neighbour}} {
				before := n.AccessStats()
				err := connects(t, who.node, n)
				require.Equal(t, who.comes, err == nil, "%s: %v", who.name, err)
				if !who.comes {
					require.NotEqual(t, before, n.AccessStats(), "%s is counted", who.name)
					require.Error(t, n.Host().Connect(patient(t), peer.AddrInfo{ID: who.node.Host().ID(), Addrs: who.node.Host().Addrs()}), "%s is dialled", who.name)
				}
			}
			_, err := erlangFrom(t, "127.0.0.1", n)
			require.Equal(t, test.erlangs, err == nil, "an Erlang node: %v", err)
			_, err = n.Dialer().Query(patient(t), erlangContact(s), &wire.Ping{})
			require.Equal(t, test.erlangs, err == nil, "an Erlang node is dialled: %v", err)
		})
	}
}

// Who is known by his address to be kept away is so before the handshake.
func TestDeniedBeforeTheHandshake(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Deny = newList(t, "127.0.0.2").file })
	_, err := erlangFrom(t, "127.0.0.2", n)
	refused, ok := errors.AsType[*quic.TransportError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, quic.ConnectionRefused, refused.ErrorCode)
	require.True(t, refused.Remote)
}

func TestReloadClosesConnections(t *testing.T) {
	var log hosttest.Log
	deny := newList(t)
	n := startNode(t, func(c *Config) {
		c.Deny = deny.file
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	denied, stays := startNode(t, at("127.0.0.2")), startNode(t, at("127.0.0.3"))
	require.NoError(t, connects(t, denied, n))
	require.NoError(t, connects(t, stays, n))
	erlang, err := erlangFrom(t, "127.0.0.4", n)
	require.NoError(t, err)
	erlangStays, err := erlangFrom(t, "127.0.0.5", n)
	require.NoError(t, err)
	_, err = n.Dialer().Query(patient(t), erlangContact(denied), &wire.Ping{}) // over a connection that is kept
	require.NoError(t, err)

	deny.write("127.0.0.2", "127.0.0.4", "oops")
	require.ErrorContains(t, n.Reload(), deny.file+":3: ")
	require.Equal(t, 1, log.Count("those of before stay in force"))
	require.NoError(t, pings(patient(t), erlang), "the old list is in force")
	require.Equal(t, network.Connected, n.Host().Network().Connectedness(denied.Host().ID()))

	deny.write(denied.Host().ID().String(), "127.0.0.2", "127.0.0.4")
	require.NoError(t, n.Reload())
	<-erlang.Context().Done()
	closed, ok := errors.AsType[*quic.ApplicationError](context.Cause(erlang.Context()))
	require.True(t, ok)
	require.EqualValues(t, network.ConnGated, closed.ErrorCode)
	require.Eventually(t, func() bool { return n.Host().Network().Connectedness(denied.Host().ID()) == network.NotConnected }, patience, tick)
	require.Error(t, connects(t, denied, n))
	_, err = n.Dialer().Query(patient(t), erlangContact(denied), &wire.Ping{})
	require.Error(t, err, "the kept connection was closed")
	require.NoError(t, pings(patient(t), erlangStays))
	require.Equal(t, network.Connected, n.Host().Network().Connectedness(stays.Host().ID()))

	deny.write()
	require.NoError(t, n.Reload())
	require.NoError(t, connects(t, denied, n))
}

func TestListsInConfig(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"no such file":      {func(c *Config) { c.Allow = filepath.Join(t.TempDir(), "none") }, []string{"allow list: ", "no such file"}},
		"a line too many":   {func(c *Config) { c.Deny = newList(t, "", "gateway.example.org").file }, []string{"deny list: ", `:2: "gateway.example.org"`, "12D3KooW", "192.0.2.0/24"}},
		"a swarm key":       {func(c *Config) { c.SwarmKey = "swarm.key" }, []string{"swarm key swarm.key: ", "QUIC", "--allow FILE", "--strict"}},
		"both lists broken": {func(c *Config) { c.Allow, c.Deny = newList(t, "a").file, newList(t, "b").file }, []string{`:1: "a"`, `:1: "b"`}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Key: newKey(t), Listen: []string{onLoopback4}}
			test.change(&cfg)
			n, err := New(cfg)
			if err == nil {
				hosttest.Close(t, n)
			}
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			require.Equal(t, strings.Contains(name, "swarm"), errors.Is(err, ErrSwarmKey))
		})
	}
}

// A node to whom private networks are groups too has whoever is on loopback in one group, in
// all that is limited by group; any other has nobody there in any.
func TestGroupPrivate(t *testing.T) {
	t.Parallel()
	for name, group := range map[string]string{"by default": "", "grouped": "127.0.0.0/24"} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, func(c *Config) { c.GroupPrivate = group != "" })
			peers := []*Node{startNode(t, bootstrappedBy(n)), startNode(t, bootstrappedBy(n)), startNode(t, bootstrappedBy(n))}
			for _, p := range peers {
				require.Eventually(t, func() bool { return n.knows(p) && p.knows(n) }, 2*patience, tick)
			}
			text := func(p netip.Prefix) string {
				if p.IsValid() {
					return p.String()
				}
				return ""
			}
			contact, _ := n.Service().Routing().Contact(peers[0].ID())
			require.Equal(t, group, text(n.Service().Routing().Group(contact)), "in lists and lookups")
			require.NoError(t, client.Put(patient(t), peers[0].Service().Client(), routing.Contact{ID: n.ID(), Peer: n.Host().ID(), Addrs: n.Host().Addrs()},
				procedures.StoreArgs{Key: []byte("k"), Value: provider("libp2p")}))
			kept, err := n.Service().Routing().Records().Values(t.Context(), []byte("k"))
			require.NoError(t, err)
			require.Equal(t, group, kept[0].Source.Group, "in the store")
			require.Equal(t, group != "", n.cfg.Conns.Everywhere, "of connections and kad-dht")
		})
	}
}
