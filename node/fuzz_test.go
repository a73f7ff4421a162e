package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzBootstrap: whom a node begins at is a peer that may be reached or a gateway, and
// reads the same when it is written again.
func FuzzBootstrap(f *testing.F) {
	const p = "/p2p/12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9DSUoU"
	for _, text := range []string{
		"/ip4/192.0.2.7/udp/9443/quic-v1" + p, "/dnsaddr/example.org" + p, p + "/p2p-circuit" + p, "/ip4/192.0.2.7/udp/1/quic-v1" + p + "/p2p-circuit" + p,
		"/ip4/192.0.2.7/tcp/1" + p, "/ip4/192.0.2.7/udp/0/quic-v1" + p, p, "/", "https://gw.example.org:9443", "https://gw#sha256=00", "gw", "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBootstrap(text)
		if err != nil {
			require.Nil(t, b.Peer)
			return
		}
		if b.Peer == nil {
			again, err := ParseBootstrap(b.Gateway.String())
			require.NoError(t, err)
			require.Equal(t, b, again)
			return
		}
		require.NoError(t, b.Peer.ID.Validate())
		require.NotEmpty(t, b.Peer.Addrs)
		again, err := ParsePeer(b.Peer.Addrs[0].String() + "/p2p/" + b.Peer.ID.String())
		require.NoError(t, err)
		require.Equal(t, b.Peer.ID, again.ID)
	})
}
