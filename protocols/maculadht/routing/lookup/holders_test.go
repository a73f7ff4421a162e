package lookup

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A holder names nobody, so that where it is all that is known it is asked for
// nodes as well: they may hold the value too.
func TestValuesAsksHoldersForNodes(t *testing.T) {
	play(t, 4, func(t *testing.T, s *script) {
		s.Know(s.Peers[3])
		for _, p := range s.Peers {
			s.Replies[p.ID] = func(_ context.Context, m wire.Message) (wire.Message, error) {
				if m.Type() == wire.TypeFindNode {
					nodes := []wire.Node{}
					for _, other := range s.Peers {
						if other.ID != p.ID {
							nodes = append(nodes, routingtest.Node(other))
						}
					}
					return &wire.FindNodeReply{Nodes: nodes}, nil
				}
				return &wire.FindValueReply{Values: []wire.Raw{value(string(p.NodeID[:4]), 60)}}, nil
			}
		}
		shown := 0
		found, err := lookups(s, WithObserver(func(h Hop) {
			if !h.Again {
				shown++
			}
		})).Values(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.GreaterOrEqual(t, found.Holders, DefaultQuorum, "not the one that was known alone")
		first := found.Hops[0]
		require.Equal(t, Hop{Contact: s.Peers[3], Round: 1, Again: true, Nodes: 3, Values: 1}, first, "both of its answers")
		asked := make(map[routing.ID]bool)
		for _, h := range found.Hops {
			require.False(t, asked[h.Contact.ID], "%s is there twice", h.Contact.ID)
			asked[h.Contact.ID] = true
		}
		require.Len(t, found.Hops, shown)

		found, err = lookups(s, WithQuorum(1)).Values(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Equal(t, 1, found.Holders, "nor more than are wanted")
	})
}
