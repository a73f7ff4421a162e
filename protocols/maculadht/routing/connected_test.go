package routing

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// Erlang nodes are told of those alone that are known to live.
func TestGatewaysAreConnectedOrWereSeenLately(t *testing.T) {
	for name, test := range map[string]struct {
		seen      time.Duration // ago
		connected func(peer.ID) bool
		named     bool
	}{
		"connected, silent for long": {time.Hour, func(peer.ID) bool { return true }, true},
		"seen lately":                {GatewaySeen - time.Minute, func(peer.ID) bool { return false }, true},
		"neither":                    {GatewaySeen, func(peer.ID) bool { return false }, false},
		"nothing is known":           {time.Hour, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.SetConnected(test.connected)
			c := libp2pContact(ID{1}, "p")
			c.Endpoint, c.EndpointSeen = "https://192.0.2.7:9443", true
			c.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.7/udp/9443/quic-v1")}
			c.LastSeen = time.Now().Add(-test.seen)
			require.NoError(t, s.Admit(c))
			require.Equal(t, test.named, len(s.FindGateways([]byte("k"))) == 1)
			require.Equal(t, test.named, s.NamesGateway(c))
			require.Len(t, s.FindNode([]byte("k")), 1, "libp2p peers find out by themselves")
		})
	}
}
