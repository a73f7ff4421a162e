package resolver

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Sources that have all there is do not keep out who has little.
func TestWhoHasLittleGetsSome(t *testing.T) {
	for name, group := range map[string]string{"of no group": "", "of a group": "198.51.100.0/24"} {
		t.Run(name, func(t *testing.T) {
			s := newShares(share{all: 64, group: 32, source: 16}, RefusedLookups, RefusedLookupsGroup, RefusedSource)
			for i := range 4 {
				for range 16 {
					_, ok := s.take(records.Source{Name: fmt.Sprint("greedy ", i)})
					require.True(t, ok)
				}
			}
			_, ok := s.take(records.Source{Name: "greedy 0"})
			require.False(t, ok, "it has its share")
			honest := records.Source{Name: "honest", Group: group}
			for range fewShare {
				_, ok = s.take(honest)
				require.True(t, ok)
			}
			why, ok := s.take(honest)
			require.False(t, ok)
			require.Equal(t, RefusedLookups, why)
			s.give(honest)
			_, ok = s.take(honest)
			require.True(t, ok)

			for i := 0; s.all < 128; i++ { // many sources take what is kept for those with little
				s.take(records.Source{Name: fmt.Sprint("one of many ", i)})
			}
			_, ok = s.take(records.Source{Name: "one more"})
			require.False(t, ok, "twice as many are all there are")
		})
	}
}
