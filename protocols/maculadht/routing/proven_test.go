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
		"behind a relay of our own":   {"::", []string{private}},
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
