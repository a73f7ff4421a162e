package routing

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

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

func TestReaddress(t *testing.T) {
	table := NewTable(ID{}, 1)
	at := func(i int) []ma.Multiaddr {
		return []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/8.8.8.%d/udp/1/quic-v1", i))}
	}
	first := Contact{ID: ID{0x80}, Peer: "a", Addrs: at(1), Verified: true}
	waiting := Contact{ID: ID{0x81}, Peer: "b", Addrs: at(1), Verified: true}
	require.NoError(t, table.Add(first))
	require.ErrorIs(t, table.Add(waiting), ErrBucketFull)
	table.Readdress(first.ID, at(2))
	table.Readdress(waiting.ID, at(3))
	table.Readdress(ID{1}, at(4)) // who is not there
	c, _ := table.Get(first.ID)
	require.Equal(t, at(2), c.Addrs)
	require.Equal(t, at(3), table.Replacements()[0].Addrs)
}

// Nobody is dialled, and no list names an address, because a peer that came and left said
// so.
func TestAddressesElsewhereWait(t *testing.T) {
	const (
		seen    = "/ip4/8.8.8.8/udp/1/quic-v1"
		port    = "/ip4/8.8.8.8/udp/2/quic-v1"
		private = "/ip4/10.0.0.1/udp/1/quic-v1"
		other   = "/ip4/9.9.9.9/udp/1/quic-v1"
		six     = "/ip6/2a00:1450:4001::1/udp/1/quic-v1"
		name    = "/dns4/victim.example/udp/1/quic-v1"
		relayed = other + "/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit"
	)
	for name, tt := range map[string]struct {
		seenIP string
		want   []string // at once
	}{
		"where it was seen":           {"8.8.8.8", []string{seen, port, private}},
		"as IPv6":                     {"::ffff:8.8.8.8", []string{seen, port, private}},
		"seen elsewhere":              {"7.7.7.7", []string{private}},
		"seen behind the relay":       {"9.9.9.9", []string{other, private, relayed}},
		"seen in a private network":   {"10.0.0.1", []string{seen, port, other, six, name, private, relayed}},
		"where that is not known yet": {"", []string{seen, port, other, six, name, private, relayed}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := NewServer(ID{})
				require.NoError(t, err)
				defer s.Close()
				c := libp2pContact(ID{0x80}, "p")
				c.SeenIP, _ = netip.ParseAddr(tt.seenIP)
				for _, a := range []string{seen, port, other, six, "/dns4/victim.example/udp/1/quic-v1", private, relayed} {
					c.Addrs = append(c.Addrs, ma.StringCast(a))
				}
				now := func() (told []string) {
					for _, a := range s.FindNode([]byte{1})[0].Addrs {
						told = append(told, a.String())
					}
					return told
				}
				require.NoError(t, s.Admit(c))
				require.ElementsMatch(t, tt.want, now())
				time.Sleep(ProvenAfter - 1)
				s.Table().Alive(c.ID, time.Now())
				require.NoError(t, s.Admit(c))
				s.Table().Readdress(c.ID, c.Addrs)
				require.ElementsMatch(t, tt.want, now())
				time.Sleep(time.Nanosecond)
				require.ElementsMatch(t, tt.want, now(), "it has to live")
				s.Table().Alive(c.ID, time.Now())
				require.Len(t, now(), 7)
				require.NoError(t, s.Admit(c))
				require.Len(t, now(), 7)
			})
		})
	}
}
