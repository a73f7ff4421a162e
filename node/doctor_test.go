package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/doctor"
)

// TestMaculaNode: one of our own is a gateway as well, told by its node id.
func TestMaculaNode(t *testing.T) {
	t.Parallel()
	const realm = "be.cortexiq.test"
	n := startNode(t, func(c *Config) { c.Realm = realm })
	d, err := dialer.New()
	require.NoError(t, err)
	r, err := doctor.Examine(t.Context(), d, n.Endpoints()[0], doctor.WithRealm(realm), doctor.WithWriting())
	require.NoError(t, err)
	require.NoError(t, d.Close())
	t.Logf("\n%s", r)
	require.True(t, r.OK())
	id := n.ID()
	require.Equal(t, id[:], r.NodeID)
	seen := func(name string) string {
		t.Helper()
		for _, c := range r.Checks {
			if strings.HasPrefix(c.Name, name) {
				return c.Seen
			}
		}
		require.Fail(t, "no such check", name)
		return ""
	}
	require.Equal(t, "itself, by its node id; no others", seen("_dht.list_gateways"))
	require.Equal(t, "both values, byte for byte", seen("what comes back"))
	var skipped []string
	for _, c := range r.Checks {
		if c.Result == doctor.Skipped {
			skipped = append(skipped, c.Name)
		}
	}
	require.Equal(t, []string{"FIND_VALUE of its own key"}, skipped)
}
