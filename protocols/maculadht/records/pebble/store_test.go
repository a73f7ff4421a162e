package pebble

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/storetest"
	kept "github.com/macula-mesh/macula-node/protocols/maculadht/state"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

func TestStore(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T, dir string) records.Store {
		s, err := Open(dir, us)
		require.NoError(t, err)
		return s
	})
}

func TestStateOfOthers(t *testing.T) {
	var s *Store
	var dir string
	statetest.Run(t, func(t *testing.T) kept.State {
		dir = t.TempDir()
		s = open(t, dir)
		return s.State()
	}, func(t *testing.T, _ kept.State) kept.State {
		require.NoError(t, s.Close())
		s = open(t, dir)
		return s.State()
	})
}
