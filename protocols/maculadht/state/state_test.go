package state_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

func TestMemory(t *testing.T) {
	statetest.Run(t, func(*testing.T) state.State { return new(statetest.Memory) },
		func(_ *testing.T, s state.State) state.State { return s.(*statetest.Memory).Copy() })
}

// Two parts of one state do not see each other.
func TestUnder(t *testing.T) {
	all := new(statetest.Memory)
	a, b := state.Under(all, "a"), state.Under(all, "ab")
	for _, s := range []state.State{a, b} {
		require.NoError(t, s.Put(t.Context(), []byte("kept"), []byte("1")))
		require.NoError(t, s.Put(t.Context(), []byte("gone"), []byte("2")))
	}
	require.NoError(t, a.Delete(t.Context(), []byte("gone")))
	require.Equal(t, []string{"a/kept", "ab/gone", "ab/kept"}, all.Keys())
	for s, want := range map[state.State][]string{a: {"kept"}, b: {"gone", "kept"}} {
		var keys []string
		require.NoError(t, s.Entries(t.Context(), func(key, _ []byte) bool {
			keys = append(keys, string(key))
			return true
		}))
		require.Equal(t, want, keys)
	}
}
