package pebble

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/storetest"
)

func TestStore(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T, dir string) records.Store {
		s, err := Open(dir, us)
		require.NoError(t, err)
		return s
	})
}
