package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// A time-out that a test waits for.
const soon = 100 * time.Millisecond

// ourEndpoint is what the gateways of these tests are told of this node.
const ourEndpoint = "https://127.0.0.1:1"

// uplinked is a node with sessions.
type uplinked struct {
	*Uplinks
	r      *routing.Server
	dialer *dialer.Dialer
}

// newUplinked starts sessions at the pace of a test.
func newUplinked(tb testing.TB, gateways []*glass.Gateway, opts ...Option) *uplinked {
	tb.Helper()
	return newUplinkedAt(tb, ourEndpoint, gateways, opts...)
}

func newUplinkedAt(tb testing.TB, endpoint string, gateways []*glass.Gateway, opts ...Option) *uplinked {
	tb.Helper()
	return newUplinkedBy(tb, func() string { return endpoint }, endpointsOf(gateways...), opts...)
}

func newUplinkedTo(tb testing.TB, endpoints []string, opts ...Option) *uplinked {
	tb.Helper()
	return newUplinkedBy(tb, func() string { return ourEndpoint }, endpoints, opts...)
}

func endpointsOf(gateways ...*glass.Gateway) (all []string) {
	for _, g := range gateways {
		all = append(all, g.Endpoint())
	}
	return all
}

// ourPeer is the peer that an uplinked node is.
func ourPeer(tb testing.TB) peer.ID {
	tb.Helper()
	id, err := peer.Decode("12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X")
	require.NoError(tb, err)
	return id
}

func newUplinkedBy(tb testing.TB, endpoint func() string, gateways []string, opts ...Option) *uplinked {
	tb.Helper()
	r, err := routing.NewServer(routing.IDFromPeer(ourPeer(tb)))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, r.Close()) })
	mux, err := server.NewMux()
	require.NoError(tb, err)
	handlers, err := dht.New(mux, r, dht.WithEndpoint(endpoint))
	require.NoError(tb, err)
	limits := dialer.DefaultLimits()
	limits.DialTimeout, limits.ReplyTimeout, limits.Backoff = compattest.Patience, time.Second, 200*time.Millisecond
	limits.MaxDials, limits.Silence = 1000, 500*time.Millisecond
	u := &uplinked{r: r, dialer: newDialer(tb, dialer.WithLimits(limits))}
	var endpoints []identity.PinnedEndpoint
	for _, text := range gateways {
		endpoints = append(endpoints, mustParse(tb, text))
	}
	u.Uplinks, err = New(u.dialer, handlers, endpoints, append([]Option{
		WithIntervals(Intervals{
			Ping:       50 * time.Millisecond,
			Neighbours: 200 * time.Millisecond,
			LookAgain:  20 * time.Millisecond,
			FirstRetry: 20 * time.Millisecond,
			LastRetry:  100 * time.Millisecond,
			Rarely:     100 * time.Millisecond,
		}),
	}, opts...)...)
	require.NoError(tb, err)
	tb.Cleanup(func() { compattest.RequireCloses(tb, func() error { u.Close(); return nil }) })
	return u
}

// atRetries is the pace of a test with other retries.
func atRetries(first, last time.Duration) Option {
	return func(c *config) error {
		c.intervals.FirstRetry, c.intervals.LastRetry = first, last
		return c.intervals.check()
	}
}

// newGlass starts a double of an Erlang node that registers itself at once.
func newGlass(tb testing.TB, opts ...glass.Option) *glass.Gateway {
	tb.Helper()
	g, err := glass.Start(append([]glass.Option{glass.RegisterAfter(0)}, opts...)...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

// requireUnhurt requires that a gateway was treated as it needs.
func requireUnhurt(tb testing.TB, gateways ...*glass.Gateway) {
	tb.Helper()
	for _, g := range gateways {
		require.Empty(tb, g.Broken())
		require.Empty(tb, g.Lapses())
		require.Empty(tb, g.Lost())
	}
}

func frameCount(g *glass.Gateway, t wire.Type) func() int {
	return func() int { return g.Stats().Frames[t] }
}

// has reports whether u is registered with so many gateways.
func (u *uplinked) has(sessions int) func() bool {
	return func() bool { return len(u.Sessions()) == sessions }
}

func TestUplinkLooksAndJoins(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, u.has(1), "a session")

	contact := u.Sessions()[0]
	require.Equal(t, g.NodeID(), contact.NodeID, "as its PONG says")
	require.Equal(t, g.ClientID(), contact.ClientID, "as its certificate says")
	require.Equal(t, g.Endpoint(), contact.Endpoint)
	compattest.Eventually(t, func() bool { return len(u.r.Contacts()) == 1 }, "it is a contact")
	require.Equal(t, routing.IDFromBytes(g.NodeID()), u.r.Contacts()[0].ID)

	pings := frameCount(g, wire.TypePing)
	before := pings()
	compattest.Eventually(t, func() bool { return pings() >= before+3 }, "signs of life")
	require.Equal(t, 1, frameCount(g, wire.TypeConnect)())
	require.Equal(t, 1, g.Stats().Accepted, "all over one connection")
	requireUnhurt(t, g)

	u.Close()
	require.Empty(t, u.Sessions())
	compattest.Eventually(t, func() bool { return g.Stats().Open == 0 }, "it is left with the connection")
	requireUnhurt(t, g)
}

// A gateway lists itself a while after its start; until then its realm is not
// known, and a CONNECT of another one would hang it.
func TestUplinkWaitsUntilTheRealmIsKnown(t *testing.T) {
	g := newGlass(t, glass.RegisterAfter(300*time.Millisecond))
	u := newUplinked(t, []*glass.Gateway{g})
	calls := frameCount(g, wire.TypeCall)
	compattest.Eventually(t, func() bool { return calls() >= 2 }, "it is looked at again")
	require.Zero(t, frameCount(g, wire.TypeConnect)())
	compattest.Eventually(t, u.has(1), "a session")
	requireUnhurt(t, g)
}

func TestUplinkToAnotherRealm(t *testing.T) {
	g := newGlass(t, glass.Realm("other"))
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, func() bool { return u.Status()[0].State == StateOtherRealm }, "it is told")
	require.True(t, u.Status()[0].Proved)
	err := u.Status()[0].Err
	require.ErrorIs(t, err, ErrOtherRealm)
	require.ErrorIs(t, err, proto.ErrRefused)
	for _, text := range []string{g.Endpoint(), `"other"`, proto.DefaultRealm} {
		require.ErrorContains(t, err, text)
	}
	calls := frameCount(g, wire.TypeCall)
	before := calls()
	compattest.Eventually(t, func() bool { return calls() > before }, "it is looked at again")
	require.Zero(t, frameCount(g, wire.TypeConnect)())
	require.Empty(t, u.Sessions())
	require.Empty(t, u.r.Contacts(), "nor is it a contact")
	requireUnhurt(t, g)
}

// A gateway counts as met for as long as there is a session with it.
func TestUplinkTellsWhomItHasMet(t *testing.T) {
	t.Parallel()
	g := newGlass(t)
	var met atomic.Int64
	u := newUplinked(t, []*glass.Gateway{g}, WithMet(func(ip netip.Addr) func() {
		require.Equal(t, g.Addr().AddrPort().Addr().Unmap(), ip)
		met.Add(1)
		return func() { met.Add(-1) }
	}))
	compattest.Eventually(t, func() bool { return u.has(1)() && met.Load() == 1 }, "a session")
	require.NoError(t, g.Close())
	compattest.Eventually(t, func() bool { return u.has(0)() && met.Load() == 0 }, "it has ended")
}

func TestUplinkComesBack(t *testing.T) {
	t.Parallel()
	t.Run("after its connections were lost", func(t *testing.T) {
		g := newGlass(t)
		u := newUplinked(t, []*glass.Gateway{g}, atRetries(compattest.Tick, 2*compattest.Tick))
		connects := frameCount(g, wire.TypeConnect)
		for lost := 1; lost <= 100; lost++ {
			compattest.Eventually(t, u.has(1), "a session")
			g.DropClients()
			compattest.Eventually(t, func() bool { return connects() > lost }, "it is joined again")
		}
		compattest.Eventually(t, func() bool { return g.Stats().Open == 1 }, "over one connection")
		requireUnhurt(t, g)
	})
	t.Run("when it starts late", func(t *testing.T) {
		early := newGlass(t)
		address := early.Addr().String()
		require.NoError(t, early.Close())
		u := newUplinked(t, []*glass.Gateway{early})
		late := newGlass(t, glass.Listen(address))
		compattest.Eventually(t, u.has(1), "a session")
		requireUnhurt(t, late)
	})
	t.Run("when it does not answer", func(t *testing.T) {
		t.Parallel()
		g := newGlass(t)
		u := newUplinked(t, []*glass.Gateway{g})
		compattest.Eventually(t, u.has(1), "a session")
		letGo := g.HoldReplies(wire.TypePing)
		compattest.Eventually(t, u.has(0), "the session is over")
		letGo()
		compattest.Eventually(t, u.has(1), "and is made anew")
		requireUnhurt(t, g)
	})
	t.Run("when CONNECT is not answered", func(t *testing.T) {
		t.Parallel()
		g := newGlass(t)
		letGo := g.HoldReplies(wire.TypeConnect)
		u := newUplinked(t, []*glass.Gateway{g})
		connects := frameCount(g, wire.TypeConnect)
		compattest.Eventually(t, func() bool { return connects() >= 2 }, "it is tried again")
		letGo()
		compattest.Eventually(t, u.has(1), "a session")
		require.Empty(t, g.Broken())
	})
}

// A gateway that takes every CONNECT and ends the session is come back to ever
// more seldom.
func TestUplinkBacksOffFromShortSessions(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g}, WithIntervals(Intervals{time.Hour, time.Hour, compattest.Tick, 20 * time.Millisecond, time.Hour, time.Hour}))
	connects := frameCount(g, wire.TypeConnect)
	var pauses []time.Duration
	for lost := 1; lost <= 5; lost++ {
		start := time.Now()
		compattest.Eventually(t, func() bool { return connects() == lost && len(u.Sessions()) == 1 }, "a session")
		pauses = append(pauses, time.Since(start))
		g.DropClients()
		compattest.Eventually(t, u.has(0), "the session is over")
	}
	require.Greater(t, pauses[4], 60*time.Millisecond, "it was at least half of 20 ms doubled three times: %v", pauses)
	requireUnhurt(t, g)
}

// Whoever stops while a gateway has not answered CONNECT does not crash it.
func TestUplinkClosedBeforeThePong(t *testing.T) {
	g := newGlass(t)
	letGo := g.HoldReplies(wire.TypeConnect)
	defer letGo()
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, func() bool { return frameCount(g, wire.TypeConnect)() == 1 }, "CONNECT")
	closed := compattest.InBackground(func() error { u.Close(); return nil })
	time.AfterFunc(100*time.Millisecond, letGo)
	require.NoError(t, compattest.Wait(t, closed))
	requireUnhurt(t, g)
}

func TestUplinkServesWhatTheGatewaySends(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, u.has(1), "a session")
	for range 3 {
		n, err := g.Push(&wire.Publish{Topic: "sensor.temp", Payload: wire.RawText("21")})
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	pings := frameCount(g, wire.TypePing)
	before := pings()
	compattest.Eventually(t, func() bool { return pings() >= before+2 }, "the session goes on")
	require.Equal(t, 1, frameCount(g, wire.TypeConnect)())
}

func TestUplinkMeetsNeighbours(t *testing.T) {
	t.Parallel()
	neighbour, stranger := newGlass(t), newGlass(t)
	entry := func(g *glass.Gateway, id, realm string) procedures.Gateway {
		return procedures.Gateway{NodeID: []byte(id), Host: "127.0.0.1", Port: int64(g.Addr().Port), Realm: realm}
	}
	self := routing.IDFromPeer(ourPeer(t))
	g := newGlass(t, glass.Neighbours(
		entry(neighbour, neighbour.ClientID(), proto.DefaultRealm),
		entry(stranger, stranger.ClientID(), "other"),
		procedures.Gateway{NodeID: self[:], Host: "127.0.0.1", Port: 1, Realm: proto.DefaultRealm},
		procedures.Gateway{NodeID: []byte("gone"), Host: "127.0.0.1", Port: 2, Realm: proto.DefaultRealm},
	))
	u := newUplinked(t, []*glass.Gateway{g})
	known := func() bool {
		for _, c := range u.r.Contacts() {
			if c.ClientID == neighbour.ClientID() {
				return true
			}
		}
		return false
	}
	compattest.Eventually(t, known, "the neighbour is a contact")
	require.Zero(t, frameCount(neighbour, wire.TypeConnect)(), "only who is named is told of us")
	require.Zero(t, stranger.Stats().Accepted)
	requireUnhurt(t, g, neighbour)
}

// A gateway asks those that it lists on each of its misses, and waits for them.
func TestUplinkTellsOnlyOfANodeThatAnswers(t *testing.T) {
	t.Run("not of one without endpoint", func(t *testing.T) {
		g := newGlass(t)
		u := newUplinkedAt(t, "", []*glass.Gateway{g})
		compattest.Eventually(t, func() bool { return len(u.r.Contacts()) == 1 }, "it is a contact all the same")
		pings := frameCount(g, wire.TypePing)
		compattest.Eventually(t, func() bool { return pings() >= 2 }, "signs of life")
		require.Zero(t, frameCount(g, wire.TypeConnect)())
		require.ErrorIs(t, u.Publish(compattest.Context(t), &wire.Publish{Topic: "t"}), proto.ErrNoConnection)
		requireUnhurt(t, g)
	})
	t.Run("while it is a server", func(t *testing.T) {
		var listable atomic.Bool
		g := newGlass(t)
		u := newUplinked(t, []*glass.Gateway{g}, WithListable(listable.Load))
		compattest.Eventually(t, func() bool { return len(u.r.Contacts()) == 1 }, "it is a contact")
		require.Zero(t, frameCount(g, wire.TypeConnect)())
		listable.Store(true)
		compattest.Eventually(t, u.has(1), "a session")
		listable.Store(false)
		compattest.Eventually(t, u.has(0), "it is left again")
		compattest.Eventually(t, func() bool { return g.Stats().Accepted == 2 && g.Stats().Open == 1 }, "with its connection")
		requireUnhurt(t, g)
	})
}

// What a gateway may be told to dial, and may tell us to dial.
func TestReachableFrom(t *testing.T) {
	for name, test := range map[string]struct {
		from, ip string
		want     bool
	}{
		"public from public":                {"8.8.8.8", "1.1.1.1", true},
		"public from private":               {"10.0.0.1", "1.1.1.1", true},
		"private from public":               {"8.8.8.8", "10.0.0.1", false},
		"private from private":              {"10.0.0.1", "10.0.0.2", true},
		"private from loopback":             {"127.0.0.1", "10.0.0.2", true},
		"loopback from loopback":            {"127.0.0.1", "127.0.0.2", true},
		"loopback from private":             {"10.0.0.1", "127.0.0.1", false},
		"IPv6 loopback from private":        {"fd00::1", "::1", false},
		"loopback from public":              {"8.8.8.8", "127.0.0.1", false},
		"shared address space from public":  {"8.8.8.8", "100.64.0.1", false},
		"link-local from public":            {"8.8.8.8", "169.254.169.254", false},
		"a wildcard, which is this machine": {"127.0.0.1", "0.0.0.0", false},
		"multicast":                         {"10.0.0.1", "224.0.0.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, reachableFrom(netip.MustParseAddr(test.from), netip.MustParseAddr(test.ip)))
		})
	}
}

func unhex(tb testing.TB, digits string) string {
	tb.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(tb, err)
	return string(b)
}

// A node of a later version, which names itself by 32 bytes, is joined and met as
// any other.
func TestUplinkToALaterVersion(t *testing.T) {
	neighbour := newGlass(t, glass.RawClientIDs())
	g := newGlass(t, glass.RawClientIDs(), glass.IPv4Only(), glass.Neighbours(procedures.Gateway{
		NodeID: []byte(unhex(t, neighbour.ClientID())), Host: "127.0.0.1", Port: int64(neighbour.Addr().Port), Realm: proto.DefaultRealm}))
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, u.has(1), "a session")
	compattest.Eventually(t, func() bool { return len(u.r.Contacts()) == 2 }, "and its neighbour")
	requireUnhurt(t, g, neighbour)
}

// A gateway that lists this node under a name that it has given itself does not
// have it ask itself.
func TestUplinkDoesNotMeetItself(t *testing.T) {
	ourselves, neighbour := newGlass(t), newGlass(t)
	entry := func(g *glass.Gateway, id string) procedures.Gateway {
		return procedures.Gateway{NodeID: []byte(id), Host: "127.0.0.1", Port: int64(g.Addr().Port), Realm: proto.DefaultRealm}
	}
	g := newGlass(t, glass.Neighbours(entry(ourselves, "my-name"), entry(neighbour, "its-name")))
	u := newUplinked(t, []*glass.Gateway{g}, WithSelf(ourselves.ClientID()))
	compattest.Eventually(t, func() bool { return ourselves.Stats().Frames[wire.TypePing] == 1 }, "it is looked at")
	compattest.Eventually(t, func() bool { return len(u.r.Contacts()) == 2 }, "the gateway and its neighbour are contacts")
	require.Never(t, func() bool { return len(u.r.Contacts()) > 2 }, soon, compattest.Tick, "and nobody else")
}

func TestUplinkToOurself(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g}, WithSelf(g.ClientID()))
	compattest.Eventually(t, func() bool { return g.Stats().Accepted == 1 }, "dialled once")
	u.tasks.Wait() // it gives up by itself
	require.Zero(t, frameCount(g, wire.TypeConnect)())
}

func TestPublishGoesThroughASession(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g})
	m := &wire.Publish{Topic: "sensor.temp", Payload: wire.RawText("21"), MessageID: []byte("0123456789abcdef")}
	compattest.Eventually(t, u.has(1), "a session")
	require.NoError(t, u.Publish(compattest.Context(t), m))
	compattest.Eventually(t, func() bool { return len(g.Notices()) == 1 }, "it came")
	require.Equal(t, "sensor.temp", g.Notices()[0].(*wire.Publish).Topic)
	require.Equal(t, 1, g.Stats().Accepted, "over the session's connection")
	requireUnhurt(t, g)

	require.ErrorIs(t, newUplinked(t, nil).Publish(compattest.Context(t), m), proto.ErrNoConnection)
}

func TestOwnEntry(t *testing.T) {
	e := endpoints.Endpoint{Host: "gw.example.org", Port: 9443}
	remote := netip.MustParseAddrPort("192.0.2.7:9443")
	const id = "a7b113782e093e08e599398df87e508d737fff6265f007dee556b429b145ef97"
	entry := func(id, host string, port int64) procedures.Gateway {
		return procedures.Gateway{NodeID: []byte(id), Host: host, Port: port, Realm: id + host}
	}
	in := func(realm string, g procedures.Gateway) procedures.Gateway {
		g.Realm = realm
		return g
	}
	tests := map[string]struct {
		list procedures.GatewayList
		want int // which of the list; -1 for none
		err  error
	}{
		"nobody":                                {nil, -1, errUnlisted},
		"others":                                {procedures.GatewayList{entry("x", "192.0.2.8", 9443)}, -1, errUnlisted},
		"by the digest":                         {procedures.GatewayList{entry("x", "gw.example.org", 9443), entry(id, "10.0.0.1", 1)}, 1, nil},
		"by the digest in capitals":             {procedures.GatewayList{entry(strings.ToUpper(id), "10.0.0.1", 1)}, 0, nil},
		"by the digest in bytes":                {procedures.GatewayList{entry("x", "gw.example.org", 9443), entry(unhex(t, id), "10.0.0.1", 1)}, 1, nil},
		"in both forms in two realms":           {procedures.GatewayList{entry(unhex(t, id), "10.0.0.1", 1), entry(id, "10.0.0.1", 1)}, -1, errTwoRealms},
		"by the name":                           {procedures.GatewayList{entry("named", "GW.example.org.", 9443)}, 0, nil},
		"by the address":                        {procedures.GatewayList{entry("named", "192.0.2.7", 9443)}, 0, nil},
		"by the address written as IPv6":        {procedures.GatewayList{entry("named", "::ffff:192.0.2.7", 9443)}, 0, nil},
		"not by the address with another port":  {procedures.GatewayList{entry("named", "192.0.2.7", 9444)}, -1, errUnlisted},
		"not by a name that is somebody else's": {procedures.GatewayList{entry("named", "gw.example.com", 9443)}, -1, errUnlisted},
		"not by where another key's node was":   {procedures.GatewayList{entry(strings.Repeat("0", 64), "192.0.2.7", 9443)}, -1, errUnlisted},
		"twice in one realm":                    {procedures.GatewayList{in("r", entry(id, "10.0.0.1", 1)), in("r", entry(id, "10.0.0.2", 1))}, 0, nil},
		"by the digest in two realms":           {procedures.GatewayList{entry(id, "10.0.0.1", 1), entry(id, "10.0.0.2", 1)}, -1, errTwoRealms},
		"by the address in two realms":          {procedures.GatewayList{entry("named", "192.0.2.7", 9443), entry("other", "192.0.2.7", 9443)}, -1, errTwoRealms},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			own, _, err := ownEntry(test.list, id, e, remote)
			require.ErrorIs(t, err, test.err)
			if test.want >= 0 {
				require.Equal(t, test.list[test.want], own)
			}
		})
	}
}

// The reconnects of many nodes at once, and the end of each at any time, are no
// harm to a gateway.
func TestUplinksComeAndGo(t *testing.T) {
	t.Parallel()
	g := newGlass(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for i := 0; ctx.Err() == nil; i++ {
		u := newUplinked(t, []*glass.Gateway{g})
		time.Sleep(time.Duration(i%20) * time.Millisecond)
		u.Close()
		require.NoError(t, u.dialer.Close())
	}
	require.Empty(t, g.Broken())
	compattest.Eventually(t, func() bool { return g.Stats().Open == 0 }, "none of the connections is left")
}

// In production a session goes by the gateway's name, and so do its neighbours.
func TestUplinkInProduction(t *testing.T) {
	ca := compattest.NewAuthority(t)
	named := func(name string) glass.Option {
		return glass.ServeTLS(serverTLS(ca.Leaf(x509.Certificate{DNSNames: []string{name}})))
	}
	neighbour, impostor := newGlass(t, named("localhost")), newGlass(t, named("elsewhere.example.org"))
	entry := func(g *glass.Gateway) procedures.Gateway {
		return procedures.Gateway{NodeID: []byte(g.ClientID()), Host: "localhost", Port: int64(g.Addr().Port), Realm: proto.DefaultRealm}
	}
	g := newGlass(t, named("localhost"), glass.Neighbours(entry(neighbour), entry(impostor)))
	at := mustParse(t, "https://localhost:"+compattest.PortOf(t, g.Endpoint()))

	r, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	mux, err := server.NewMux()
	require.NoError(t, err)
	handlers, err := dht.New(mux, r, dht.WithEndpoint(func() string { return ourEndpoint }))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		roots  *x509.CertPool
		joined bool
	}{"of the mesh's CA": {ca.Pool(), true}, "of another CA": {compattest.NewAuthority(t).Pool(), false}} {
		t.Run(name, func(t *testing.T) {
			d := newDialer(t, dialer.WithTLS(identity.TLS{Verify: true, Roots: test.roots}))
			u, err := New(d, handlers, []identity.PinnedEndpoint{at})
			require.NoError(t, err)
			t.Cleanup(u.Close)
			if !test.joined {
				_, err := d.Acquire(compattest.Context(t), at.Endpoint)
				require.ErrorIs(t, err, identity.ErrCertificate)
				require.Empty(t, u.Sessions())
				return
			}
			compattest.Eventually(t, func() bool { return len(u.Sessions()) == 1 && len(r.Contacts()) == 2 }, "a session, and a neighbour")
			require.Equal(t, at.String(), u.Sessions()[0].Endpoint)
			var names []string
			for _, c := range r.Contacts() {
				names = append(names, c.Endpoint)
			}
			require.ElementsMatch(t, []string{at.String(), "https://localhost:" + compattest.PortOf(t, neighbour.Endpoint())}, names)
		})
	}
	requireUnhurt(t, g, neighbour, impostor)
}

// A pin that nobody checks is no pin.
func TestPinsThatTheDialerDoesNotKnow(t *testing.T) {
	g := newGlass(t)
	pinned := mustParse(t, g.Endpoint()+"#sha256="+strings.Repeat("0f", 32))
	require.True(t, newDialer(t).Holds(identity.PinnedEndpoint{Endpoint: pinned.Endpoint}))
	require.True(t, newDialer(t, dialer.WithPins(pinned)).Holds(pinned))
	d := newDialer(t)
	require.False(t, d.Holds(pinned))

	r, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	mux, err := server.NewMux()
	require.NoError(t, err)
	handlers, err := dht.New(mux, r)
	require.NoError(t, err)
	_, err = New(d, handlers, []identity.PinnedEndpoint{pinned})
	require.ErrorContains(t, err, pinned.Pin.String())
	require.ErrorContains(t, err, "WithPins")
	require.Zero(t, g.Stats().Accepted)
}

func mustParse(tb testing.TB, endpoint string) identity.PinnedEndpoint {
	tb.Helper()
	e, err := identity.ParsePinnedEndpoint(endpoint)
	require.NoError(tb, err)
	return e
}

// serverTLS is that of a node with a certificate.
func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{dialer.ALPN}, MinVersion: tls.VersionTLS13}
}
