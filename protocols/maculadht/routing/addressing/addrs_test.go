package addressing

import (
	"fmt"
	"net/netip"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// Who is told of an address that means another machine to it dials that one.
func TestReach(t *testing.T) {
	const (
		public   = "/ip4/8.8.8.8/udp/9443/quic-v1"
		private  = "/ip4/10.0.0.1/udp/9443/quic-v1"
		loopback = "/ip4/127.0.0.1/udp/9443/quic-v1"
		six      = "/ip6/::1/udp/9443/quic-v1"
		name     = "/dns4/node.example.org/udp/9443/quic-v1"
		local    = "/dns4/localhost/udp/9443/quic-v1"
		relayed  = public + "/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit"
	)
	for name, test := range map[string]struct {
		from string
		told []string
	}{
		"on this machine":     {"127.0.0.1", []string{public, private, loopback, six, name, local, relayed}},
		"over IPv6":           {"::1", []string{public, private, loopback, six, name, local, relayed}},
		"mapped":              {"::ffff:127.0.0.1", []string{public, private, loopback, six, name, local, relayed}},
		"in this network":     {"192.168.1.7", []string{public, private, name, relayed}},
		"link-local":          {"fe80::1%eth0", []string{public, private, name, relayed}},
		"at a provider's NAT": {"100.64.3.4", []string{public, private, name, relayed}},
		"anywhere":            {"1.1.1.1", []string{public, name, relayed}},
		"behind a relay":      {"", []string{public, name, relayed}},
	} {
		t.Run(name, func(t *testing.T) {
			var all []ma.Multiaddr
			for _, a := range []string{public, private, loopback, six, "/dns4/node.example.org/udp/9443/quic-v1", local, relayed} {
				all = append(all, ma.StringCast(a))
			}
			from, _ := netip.ParseAddr(test.from)
			var told []string
			for _, a := range ReachOf(from).Addrs(all) {
				told = append(told, a.String())
			}
			require.Equal(t, test.told, told)
		})
	}
}

func TestReachOfEndpoints(t *testing.T) {
	for endpoint, least := range map[string]Reach{
		"https://8.8.8.8:9443":                ReachPublic,
		"https://node.example.org:9443":       ReachPublic,
		"https://10.0.0.1:9443":               ReachPrivate,
		"https://[fd00::1]:9443":              ReachPrivate,
		"https://127.0.0.1:9443":              ReachLocal,
		"https://[::ffff:127.0.0.1]:9443":     ReachLocal,
		"https://localhost:9443":              ReachLocal,
		"https://LocalHost.:9443":             ReachLocal,
		"https://a.localhost:9443":            ReachLocal,
		"https://localhost.localdomain:9443":  ReachLocal,
		"https://ip6-loopback:9443":           ReachLocal,
		"https://notlocalhost.example.org:99": ReachPublic,
	} {
		for r := ReachPublic; r <= ReachLocal; r++ {
			want := ""
			if r >= least {
				want = endpoint
			}
			require.Equal(t, want, r.Endpoint(endpoint), "%s to reach %d", endpoint, r)
		}
	}
	require.Empty(t, ReachLocal.Endpoint("nonsense"))
}

// A relay says where the one behind it is as far as itself is somewhere.
func TestSeenIP(t *testing.T) {
	const circuit = "/udp/1/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit"
	for addr, want := range map[string]string{
		"/ip4/8.8.8.8/udp/1/quic-v1":  "8.8.8.8",
		"/ip4/10.0.0.1/udp/1/quic-v1": "10.0.0.1",
		"/ip4/8.8.8.8" + circuit:      "8.8.8.8",
		"/ip4/10.0.0.1" + circuit:     "::",
		"/ip4/127.0.0.1" + circuit:    "::",
		"/ip6/::1" + circuit:          "::",
		"/ip6/fe80::1" + circuit:      "::",
		"/ip4/100.64.0.1" + circuit:   "::",
	} {
		require.Equal(t, want, SeenIP(ma.StringCast(addr)).String(), addr)
	}
}

func TestFewAddressesOfAContact(t *testing.T) {
	var all []ma.Multiaddr
	for i := range 20 {
		all = append(all, ma.StringCast(fmt.Sprintf("/ip4/8.8.8.%d/udp/1/quic-v1", i)))
	}
	for r := ReachPublic; r <= ReachLocal; r++ {
		require.Equal(t, all[:MaxContactAddrs], r.Addrs(all))
	}
	require.Len(t, EncodeAddrs(all), MaxContactAddrs)
}
