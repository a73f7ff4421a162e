package node

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// Whoever says that an Erlang node's address is theirs has us dial it: no oftener than
// it takes, so that there is room for our own.
func TestPeersThatClaimAnErlangNodesAddress(t *testing.T) {
	g := startGlass(t, glass.RateLimited(glass.DefaultPerSource, glass.DefaultSourceTime, glass.DefaultPerSecond))
	n := startNode(t, func(c *Config) { c.Bootstrap = []string{g.Endpoint()} })
	require.Eventually(t, func() bool { return len(n.Uplinks().Sessions()) == 1 }, 2*patience, tick, "a session")

	addr, err := dialer.Multiaddr(g.Addr().AddrPort())
	require.NoError(t, err)
	for range 12 {
		id, err := test.RandPeerID()
		require.NoError(t, err)
		err = n.host.Base.Connect(patient(t), peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{addr}})
		require.Error(t, err)
	}
	g.DropClients()
	require.Eventually(t, func() bool { return len(n.Uplinks().Sessions()) == 0 || len(g.Clients()) == 1 }, 2*patience, tick, "it is gone")
	require.Eventually(t, func() bool { return len(n.Uplinks().Sessions()) == 1 }, 2*patience, tick, "and comes again")
	require.NoError(t, g.NothingRefused())
}
