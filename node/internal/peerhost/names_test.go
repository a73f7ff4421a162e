package peerhost

import (
	"context"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// A host at a public address is not had to dial into its own network by a name that a peer
// tells of; a bootstrap peer's name leads where it leads, as does any to a host of a private
// network.
func TestNamesThatLeadInside(t *testing.T) {
	public := libp2p.AddrsFactory(func(all []ma.Multiaddr) []ma.Multiaddr {
		return append(all[:len(all):len(all)], ma.StringCast("/ip4/8.8.8.8/udp/9443/quic-v1"))
	})
	other := startHost(t)
	named := peer.AddrInfo{ID: other.ID(), Addrs: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/dns4/localhost/udp/%d/quic-v1", port(t, other)))}}
	for name, tt := range map[string]struct {
		change  func(*Config)
		reaches bool
	}{
		"a host of a private network": {func(*Config) {}, true},
		"a public one":                {func(c *Config) { c.Options = append(c.Options, public) }, false},
		"a public one's bootstrap peer": {func(c *Config) {
			c.Options = append(c.Options, public)
			c.Bootstrap = []peer.AddrInfo{named}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHost(t, tt.change)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := h.Base.Connect(ctx, named)
			if tt.reaches {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "no good addresses")
		})
	}
}
