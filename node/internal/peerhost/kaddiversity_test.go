package peerhost

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p-kbucket/peerdiversity"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// connected is a host that has connections to peers at addresses.
type connected struct {
	host.Host
	at map[peer.ID][]string
}

func (c *connected) Network() network.Network { return connectedNetwork{at: c.at} }

type connectedNetwork struct {
	network.Network
	at map[peer.ID][]string
}

func (n connectedNetwork) ConnsToPeer(p peer.ID) (conns []network.Conn) {
	for _, a := range n.at[p] {
		conns = append(conns, connAt{addr: ma.StringCast(a)})
	}
	return conns
}

type connAt struct {
	network.Conn
	addr ma.Multiaddr
}

func (c connAt) RemoteMultiaddr() ma.Multiaddr { return c.addr }

// kad-dht's filter asks as it does for its table.
func TestKadDiversity(t *testing.T) {
	for name, tt := range map[string]struct {
		addr    string // with a number in it
		buckets int    // that they are spread over
		want    int    // of 40
	}{
		"a /24 in one bucket":               {"/ip4/8.8.8.%d/udp/1/quic-v1", 1, 2},
		"a /24 in many":                     {"/ip4/8.8.8.%d/udp/1/quic-v1", 20, 8},
		"a /48 in one bucket":               {"/ip6/2a00:1450:4001::%d/udp/1/quic-v1", 1, 2},
		"IPv6 of many networks":             {"/ip6/2a00:1450:40%02d::1/udp/1/quic-v1", 1, 40},
		"IPv4 of many networks":             {"/ip4/8.8.%d.8/udp/1/quic-v1", 1, 40},
		"a private network":                 {"/ip4/10.0.0.%d/udp/1/quic-v1", 1, 40},
		"a private IPv6 network":            {"/ip6/fd00::%d/udp/1/quic-v1", 1, 40},
		"this machine":                      {"/ip4/127.0.0.1/udp/1%03d/quic-v1", 1, 40},
		"this machine, grouped":             {"/ip4/127.0.0.1/udp/1%03d/quic-v1", 1, 2},
		"a private network, grouped":        {"/ip4/10.0.0.%d/udp/1/quic-v1", 20, 8},
		"this machine, IPv6":                {"/ip6/::1/udp/1%03d/quic-v1", 1, 40},
		"behind a relay of our own network": {"/ip4/10.0.0.%d/udp/1/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit", 20, 8},
		"behind relays of one network":      {"/ip4/8.8.8.%d/udp/1/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit", 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := &connected{at: map[peer.ID][]string{}}
			d := newKadDiversity(c, strings.HasSuffix(name, "grouped"))
			filter, err := peerdiversity.NewFilter(d, "test", func(p peer.ID) int { return int(p[0]) % tt.buckets })
			require.NoError(t, err)
			var in []peer.ID
			for i := range 40 {
				p := peer.ID([]byte{byte(i)})
				addr := fmt.Sprintf(tt.addr, i+1)
				c.at[p] = []string{addr, addr} // two connections are not two peers
				if filter.TryAdd(p) {
					in = append(in, p)
				}
			}
			require.Len(t, in, tt.want)
			clear(c.at) // they are gone by then
			for _, p := range in {
				filter.Remove(p)
			}
			require.Empty(t, d.peers)
			require.Empty(t, d.table)
			require.Empty(t, d.buckets)
		})
	}
}
