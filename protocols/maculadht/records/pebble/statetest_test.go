package pebble_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// The store's state is what package state wants of one.
func TestStateAsServicesWantIt(t *testing.T) {
	owner := pebble.Owner{Realm: "test", NodeID: []byte("the id of this node, of 32 bytes")}
	type opened struct {
		*pebble.State
		store *pebble.Store
		dir   string
	}
	open := func(t *testing.T, dir string) state.State {
		store, err := pebble.Open(dir, owner)
		require.NoError(t, err)
		t.Cleanup(func() { _ = store.Close() })
		return opened{store.State(), store, dir}
	}
	statetest.Run(t, func(t *testing.T) state.State { return open(t, t.TempDir()) },
		func(t *testing.T, s state.State) state.State {
			require.NoError(t, s.(opened).store.Close())
			return open(t, s.(opened).dir)
		})
}
