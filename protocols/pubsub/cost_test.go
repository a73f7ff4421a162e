package pubsub_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// What a node sends for a message is charged to who published it by its bytes, be it sent
// when it was looked up to whom: a few long ones use up what many short ones do not.
func TestCopiesAreChargedByTheirBytes(t *testing.T) {
	for name, elsewhere := range map[string]bool{"here": false, "elsewhere": true} {
		t.Run(name, func(t *testing.T) {
			limits := maculadht.DefaultLimits()
			limits.Accounts.Source.FrameRate, limits.Accounts.Source.FrameBurst = 0.001, 440
			limits.Accounts.Group = limits.Accounts.Source
			n := startNodeOf(t, node.Config{Limits: &limits})
			at := n
			if elsewhere {
				at = startNode(t, n)
			}
			s, err := at.Topics().Subscribe(t.Context(), "t")
			require.NoError(t, err)
			if elsewhere {
				found(t, n, "t", 1)
			}
			p := newErlang(t, n, id32("p"))
			long := strings.Repeat("x", 50_000) // 48 frames or 49
			const messages, within = 12, 8      // of which the budget is enough for; it is for reading all
			for i := range messages {
				p.publish("t", long, i)
			}
			require.Eventually(t, func() bool { return n.Topics().Stats().Busy == messages-within }, patience, tick)
			for range within {
				require.Len(t, next(t, s).Payload(), len(long))
			}
			nothing(t, s)
		})
	}
}

// Short messages cost no more for it.
func TestShortCopiesCostWhatTheyDid(t *testing.T) {
	limits := maculadht.DefaultLimits()
	limits.Accounts.Source.FrameRate, limits.Accounts.Source.FrameBurst = 0.001, 400
	limits.Accounts.Group = limits.Accounts.Source
	n := startNodeOf(t, node.Config{Limits: &limits})
	s, err := n.Topics().Subscribe(t.Context(), "t")
	require.NoError(t, err)
	p := newErlang(t, n, id32("p"))
	for i := range 300 {
		p.publish("t", strings.Repeat("x", 200), i)
	}
	for range 300 {
		next(t, s)
	}
	require.Zero(t, n.Topics().Stats().Busy)
}
