package addressing

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// FuzzAddr: whatever comes for an address is refused, or one that can be asked about, and
// travels again.
func FuzzAddr(f *testing.F) {
	for _, text := range []string{
		"/ip4/192.0.2.7/udp/9443/quic-v1", "/ip6/fe80::1/udp/1/quic-v1", "/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1", "/dns4/localhost/udp/1/quic-v1",
		"/dnsaddr/example.org", "/p2p-circuit", "/p2p/12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9DSUoU",
		"/ip4/10.0.0.1/udp/1/quic-v1/p2p/12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9DSUoU/p2p-circuit", "/unix/a/b",
	} {
		f.Add([]byte(text))
		f.Add(ma.StringCast(text).Bytes())
	}
	f.Add([]byte{})
	f.Add([]byte("/"))
	name := peer.ID("\x00\x0e00000000000000")
	f.Fuzz(func(t *testing.T, b []byte) {
		info := PeerOf(wire.Node{Addrs: [][]byte{b, b}})
		if info.ID == "" {
			require.Empty(t, info.Addrs)
		}
		a, err := DecodeAddr(b)
		if err != nil {
			require.Empty(t, info.ID)
			return
		}
		AddrPortOf(a)
		IPOf(a)
		needs := Needs(a)
		for _, r := range []Reach{ReachPublic, ReachPrivate, ReachLocal} {
			want := 0
			if needs <= r {
				want = 1
			}
			require.Len(t, r.Addrs([]ma.Multiaddr{a}), want, "%s of reach %d at %d", a, needs, r)
		}
		for _, encoded := range EncodeAddrs([]ma.Multiaddr{a}) {
			again, err := DecodeAddr(encoded)
			require.NoError(t, err)
			require.True(t, a.Equal(again), "%s became %s", a, again)
		}
		if _, named := peer.SplitAddr(a); named == "" {
			for _, encoded := range EncodePeerAddrs(name, []ma.Multiaddr{a}) {
				again := PeerOf(wire.Node{Addrs: [][]byte{encoded}})
				require.Equal(t, name, again.ID)
			}
		}
	})
}
