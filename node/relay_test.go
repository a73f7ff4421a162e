package node

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
)

func TestRelayCandidates(t *testing.T) {
	a := startNode(t)
	b, c := startNode(t, bootstrappedBy(a)), startNode(t, bootstrappedBy(a))
	require.Eventually(t, func() bool { return a.lists(b, true) && a.lists(c, true) }, 2*patience, tick)
	candidates := func(most int) (ids []peer.ID) {
		for info := range a.host.RelayCandidates(t.Context(), most) {
			require.NotEmpty(t, info.Addrs)
			ids = append(ids, info.ID)
		}
		return ids
	}
	require.ElementsMatch(t, []peer.ID{b.Host().ID(), c.Host().ID()}, candidates(10))
	require.Len(t, candidates(1), 1)
}
