package node

import (
	"testing"

	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// The connection manager trims strangers before contacts, and bootstrap peers never.
func TestConnManagerKnowsContacts(t *testing.T) {
	b := startNode(t)
	a := startNode(t, bootstrappedBy(b))
	require.Eventually(t, func() bool { return a.knows(b) && b.knows(a) }, 2*patience, tick)
	manager := func(n *Node) *connmgr.BasicConnMgr { return n.Host().ConnManager().(*connmgr.BasicConnMgr) }
	require.Equal(t, DefaultConnsHigh, manager(a).GetInfo().HighWater)
	require.True(t, manager(a).IsProtected(b.Host().ID(), "macula-dht/bootstrap"))

	const tag = "macula-dht/contact"
	near := 10 + routing.IDFromPeer(a.Host().ID()).CommonPrefixLen(b.ID())
	require.Equal(t, near, manager(a).GetTagInfo(b.Host().ID()).Tags[tag])
	require.Equal(t, near, manager(b).GetTagInfo(a.Host().ID()).Tags[tag])
	b.Service().Routing().Forget(a.ID())
	require.NotContains(t, manager(b).GetTagInfo(a.Host().ID()).Tags, tag, "untagged with its place in the table")
	require.Eventually(t, func() bool {
		return !manager(b).IsProtected(a.Host().ID(), "macula-dht/asks") && !manager(b).IsProtected(a.Host().ID(), "macula-dht/stores")
	}, 2*patience, tick, "nothing is asked any more")
}

func TestConnsInConfig(t *testing.T) {
	for name, test := range map[string]struct {
		low, high         int
		wantLow, wantHigh int // 0: refused
	}{
		"none said":        {0, 0, DefaultConnsLow, DefaultConnsHigh},
		"both":             {10, 20, 10, 20},
		"few":              {0, 20, 20, 20},
		"many":             {5000, 0, 5000, 5000},
		"the wrong way":    {20, 10, 0, 0},
		"less than nobody": {-1, 10, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Config{Key: newKey(t), ConnsLow: test.low, ConnsHigh: test.high}.check()
			if test.wantLow == 0 {
				require.ErrorContains(t, err, "connections")
				return
			}
			require.NoError(t, err)
			require.Equal(t, []int{test.wantLow, test.wantHigh}, []int{s.ConnsLow, s.ConnsHigh})
		})
	}
}
