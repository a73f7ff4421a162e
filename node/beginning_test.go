package node

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// nobody is the multiaddr of a peer at a port that does not answer.
func nobody(t *testing.T) string {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { udp.Close() })
	_, port, _ := strings.Cut(udp.LocalAddr().String(), ":")
	return "/ip4/127.0.0.1/udp/" + port + "/quic-v1/p2p/" + peerOf(t, newKey(t)).String()
}

// Where all that a node was told to begin at serve other realms, as their keys prove, it
// says so, be they peers or gateways.
func TestOtherRealm(t *testing.T) {
	other := func(t *testing.T) *Node { return startNode(t, func(c *Config) { c.Realm = "other" }) }
	peerOther := func(t *testing.T) string { return other(t).Addrs()[0].String() }
	gatewayOther := func(t *testing.T) string { return startGlass(t, glass.Realm("other")).Endpoint() }
	for name, test := range map[string]struct {
		bootstrap []func(t *testing.T) string
		want      bool
	}{
		"a peer":                   {[]func(t *testing.T) string{peerOther}, true},
		"a gateway":                {[]func(t *testing.T) string{gatewayOther}, true},
		"the endpoint of a peer":   {[]func(t *testing.T) string{func(t *testing.T) string { return other(t).Endpoint() }}, true},
		"all of several":           {[]func(t *testing.T) string{peerOther, gatewayOther}, true},
		"but one that is silent":   {[]func(t *testing.T) string{peerOther, gatewayOther, nobody}, false},
		"but a peer of this realm": {[]func(t *testing.T) string{gatewayOther, func(t *testing.T) string { return startNode(t).Addrs()[0].String() }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var addrs []string
			for _, b := range test.bootstrap {
				addrs = append(addrs, b(t))
			}
			n := startNode(t, func(c *Config) { c.Bootstrap = addrs })
			require.Eventually(t, func() bool {
				others, joined := 0, 0
				for _, b := range n.beginnings() {
					if b.state == schema.BootstrapOtherRealm {
						others++
					} else if b.state == schema.BootstrapJoined {
						joined++
					}
				}
				return test.want && others == len(addrs) || !test.want && others > 0 && (others+joined == len(addrs) || strings.Contains(name, "silent") && others == 2)
			}, 2*patience, tick)
			err := n.OtherRealm()
			if !test.want {
				require.NoError(t, err)
				return
			}
			joined, open := n.Beginning()
			require.False(t, joined || open)
			require.ErrorIs(t, err, ErrOtherRealm)
			require.ErrorIs(t, err, proto.ErrRefused)
			for _, addr := range addrs {
				require.ErrorContains(t, err, "it serves another realm: "+addr)
			}
			for _, text := range []string{`"other"`, `"` + proto.DefaultRealm + `"`, "name one of this realm, or give this node that realm"} {
				require.ErrorContains(t, err, text)
			}
			problems := n.problems(n.beginnings())
			require.Len(t, problems, 1)
			require.Contains(t, problems[0], "in no network")
			require.Contains(t, problems[0], `"other"`)
		})
	}
}

// A node that nobody let in is not well, once its bootstrap peers had the time to answer.
func TestLonely(t *testing.T) {
	first := startNode(t)
	require.Empty(t, first.lonely(nil), "who was told of nobody is the first")
	trying := beginning{addr: "/ip4/192.0.2.7/udp/1/quic-v1/p2p/x", state: schema.BootstrapTrying, since: time.Now()}
	require.Empty(t, first.lonely([]beginning{trying}), "it may answer yet")
	trying.since = trying.since.Add(-beginningsGrace)
	require.Contains(t, first.lonely([]beginning{trying}), "in no network")
	require.Contains(t, first.lonely([]beginning{trying}), trying.addr+": no answer yet")
	trying.tried, trying.err = true, proto.ErrUnreachable
	require.Contains(t, first.lonely([]beginning{trying}), trying.addr+": unreachable")

	second := startNode(t, bootstrappedBy(first))
	require.Eventually(t, func() bool { return first.knows(second) && second.knows(first) }, 2*patience, tick)
	require.Empty(t, first.lonely([]beginning{trying}), "it is in a network by others")
	require.Empty(t, second.problems(second.beginnings()))
	require.Eventually(t, func() bool { return told(second.beginnings())[0].State == schema.BootstrapJoined }, patience, tick)
}
