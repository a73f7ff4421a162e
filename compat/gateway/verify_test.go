package gateway

import (
	"crypto/x509"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// contactOf waits until a node has become a contact.
func (d *testGateway) contactOf(tb testing.TB, nodeID string) (c routing.Contact) {
	tb.Helper()
	compattest.Eventually(tb, func() (ok bool) {
		c, ok = d.server.Contact(routing.IDFromBytes([]byte(nodeID)))
		return ok
	}, "%s is a contact", nodeID)
	return c
}

func TestVerification(t *testing.T) {
	for name, test := range map[string]struct {
		listen string
		host   string // as the node names it
		allow  []netip.Prefix
		want   string // the host of the contact
	}{
		"the connection's source":               {"127.0.0.1:0", "127.0.0.1", nil, "127.0.0.1"},
		"a name is kept as its address":         {"127.0.0.1:0", "localhost", nil, "127.0.0.1"},
		"an allowed range":                      {"127.0.0.2:0", "127.0.0.2", []netip.Prefix{netip.MustParsePrefix("127.0.0.2/31")}, "127.0.0.2"},
		"the source, though a range is allowed": {"127.0.0.1:0", "127.0.0.1", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			e := compattest.StartErlang(t, test.listen)
			d := openGateway(t, WithDialer(newDialer(t)), WithAllowedEndpoints(test.allow...))
			s := dialGateway(t, d.addr).open()
			s.connect("a node", "https://"+test.host+":"+compattest.PortOf(t, e.Endpoint()))
			c := d.contactOf(t, "a node")
			require.True(t, c.Verified)
			require.Equal(t, "https://"+test.want+":"+compattest.PortOf(t, e.Endpoint()), c.Endpoint)
			require.Equal(t, []byte("a node"), c.NodeID)
			require.WithinDuration(t, time.Now(), c.LastSeen, compattest.Patience)
			require.Equal(t, 1, e.Count(wire.TypePing))
			e.RequireSpared()
		})
	}
}

// A node id that is the digest of a certificate is believed only with that
// certificate at the endpoint: else it is a neighbour's.
func TestVerificationByCertificate(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	leaf, err := x509.ParseCertificate(e.Certificate().Certificate[0])
	require.NoError(t, err)
	id, err := identity.ClientID(leaf)
	require.NoError(t, err)
	require.Len(t, id, 64)
	require.Equal(t, e.ClientID(), id)

	d := openGateway(t, WithDialer(newDialer(t)))
	s := dialGateway(t, d.addr).open()
	forged := strings.Repeat("0f", 32)
	s.connect(forged, e.Endpoint())
	compattest.Eventually(t, func() bool { return e.Count(wire.TypePing) == 1 }, "the endpoint is asked")
	s.connect(strings.ToUpper(id), e.Endpoint()) // comes after it
	c := d.contactOf(t, strings.ToUpper(id))
	require.Equal(t, e.Endpoint(), c.Endpoint)
	_, ok := d.server.Contact(routing.IDFromBytes([]byte(forged)))
	require.False(t, ok, "the forged one is no contact")
	e.RequireSpared()
}

// An endpoint that is not where its node connects from gets not one packet.
func TestOtherHostsAreNotDialled(t *testing.T) {
	stranger, err := net.ListenPacket("udp4", "127.0.0.2:0")
	require.NoError(t, err)
	defer stranger.Close()
	_, number, err := net.SplitHostPort(stranger.LocalAddr().String())
	require.NoError(t, err)
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := openGateway(t, WithDialer(newDialer(t)), WithAllowedEndpoints(netip.MustParsePrefix("127.0.0.3/32")))
	s := dialGateway(t, d.addr).open()
	for _, endpoint := range []string{"https://127.0.0.2:" + number, "https://[::ffff:127.0.0.2]:" + number, "127.0.0.1:1", "", "no endpoint", "https://does-not-resolve.invalid:1"} {
		s.connect("liar", endpoint)
		s.connect("honest "+endpoint, e.Endpoint()) // comes after it
		d.contactOf(t, "honest "+endpoint)
	}
	require.NoError(t, stranger.SetReadDeadline(time.Now()))
	n, _, err := stranger.ReadFrom(make([]byte, 2000))
	require.Error(t, err, "%d bytes came", n)
	_, known := d.server.Contact(routing.IDFromBytes([]byte("liar")))
	require.False(t, known)
}

// Who CONNECTs over and over has one endpoint pinged at a time, the newest next.
func TestVerificationIsNotMultiplied(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypePing)
	d := openGateway(t, WithDialer(newDialer(t)))
	conn := dialGateway(t, d.addr)
	s := conn.open()
	const connects = 200
	for i := range connects {
		s.connect("node "+strconv.Itoa(i), e.Endpoint())
	}
	compattest.Eventually(t, func() bool { return e.Count() == 1 }, "the first is pinged")
	letGo()
	d.contactOf(t, "node "+strconv.Itoa(connects-1))
	require.LessOrEqual(t, e.Count(), 3)

	// Two of one address at a time, however many connections it has.
	letGo = e.HoldReplies(wire.TypePing)
	before := e.Count()
	for i := range 8 {
		dialGateway(t, d.addr).open().connect("other "+strconv.Itoa(i), e.Endpoint())
	}
	compattest.Eventually(t, func() bool { return e.Count() == before+DefaultLimits().MaxVerifyPerSource }, "pinged")
	require.Len(t, d.verify, DefaultLimits().MaxVerifyPerSource)
	letGo()
	compattest.Eventually(t, func() bool { return e.Count() == before+8 }, "all in the end")
	require.LessOrEqual(t, e.Stats().MostAsking[wire.TypePing], DefaultLimits().MaxVerifyPerSource)
}

// Without a dialer there are guests and no contacts.
func TestWithoutVerification(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := openGateway(t)
	s := dialGateway(t, d.addr).open()
	s.connect("a node", e.Endpoint())
	require.Equal(t, 1, d.guests())
	require.Empty(t, d.server.Contacts())
	require.Zero(t, e.Stats().Open)
}

func TestMayVerify(t *testing.T) {
	everything := []string{"0.0.0.0/0", "::/0"}
	for name, test := range map[string]struct {
		source, target string
		allowed        []string
		want           bool
	}{
		"the source itself":                         {"8.8.8.8", "8.8.8.8", nil, true},
		"the source itself, IPv6":                   {"2606:4700::1", "2606:4700::1", nil, true},
		"the source itself, private":                {"10.0.0.1", "10.0.0.1", nil, true},
		"the source itself, loopback":               {"127.0.0.1", "127.0.0.1", nil, true},
		"another public host":                       {"8.8.8.8", "1.1.1.1", nil, false},
		"another public host, allowed":              {"8.8.8.8", "1.1.1.1", []string{"1.1.1.0/24"}, true},
		"another range allowed":                     {"8.8.8.8", "1.1.1.1", []string{"1.1.2.0/24"}, false},
		"private from private":                      {"10.0.0.1", "10.0.0.2", nil, false},
		"private from private, allowed":             {"10.0.0.1", "10.0.0.2", []string{"10.0.0.0/8"}, true},
		"loopback from private, allowed":            {"10.0.0.1", "127.0.0.1", everything, true},
		"private from public, allowed":              {"8.8.8.8", "10.0.0.1", []string{"10.0.0.0/8"}, false},
		"loopback from public, allowed":             {"8.8.8.8", "127.0.0.1", everything, false},
		"IPv6 loopback from public, allowed":        {"2606:4700::1", "::1", everything, false},
		"link-local from public, allowed":           {"8.8.8.8", "169.254.169.254", everything, false},
		"IPv6 link-local from public, allowed":      {"2606:4700::1", "fe80::1", everything, false},
		"unique local from public, allowed":         {"2606:4700::1", "fd00::1", everything, false},
		"shared address space from public, allowed": {"8.8.8.8", "100.64.0.1", everything, false},
		"wildcard from public, allowed":             {"8.8.8.8", "0.0.0.0", everything, false},
		"multicast from public, allowed":            {"8.8.8.8", "224.0.0.1", everything, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := &Gateway{}
			for _, p := range test.allowed {
				g.cfg.allowed = append(g.cfg.allowed, netip.MustParsePrefix(p))
			}
			require.Equal(t, test.want, g.mayVerify(netip.MustParseAddr(test.source), netip.MustParseAddr(test.target)))
		})
	}
}

func TestListGateways(t *testing.T) {
	d := openGateway(t)
	a := strings.TrimPrefix(d.admitPeer(t, 1), "https://")
	b := strings.TrimPrefix(d.admitPeer(t, 2), "https://")
	own := strings.TrimPrefix(ownEndpoint, "https://")

	conn := dialGateway(t, d.addr)
	for range 2 { // a stream that has not CONNECTed is told all, each time
		require.ElementsMatch(t, []string{own, a, b}, conn.open().gateways())
	}
	s := conn.open()
	s.connect("a node", "https://127.0.0.1:1")
	require.ElementsMatch(t, []string{a, b}, s.gateways())
	require.Empty(t, s.gateways(), "each is named once")
	d.admitPeer(t, 3)
	require.Empty(t, s.gateways(), "nor are more than it could ask in time if they were gone")
	require.Contains(t, conn.open().gateways(), own, "other streams are told of us")
}
