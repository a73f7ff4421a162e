package lookup

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
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
		found, err := lookups(s).Values(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.GreaterOrEqual(t, found.Holders, DefaultQuorum, "not the one that was known alone")

		found, err = lookups(s, WithQuorum(1)).Values(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Equal(t, 1, found.Holders, "nor more than are wanted")
	})
}
