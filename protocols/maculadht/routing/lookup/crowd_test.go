package lookup

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// A holder that has more than a lookup gathers, and all of it with a long life, leaves
// room for what the others told of.
func TestOneHolderDoesNotCrowdOthersOut(t *testing.T) {
	now := time.Now()
	found := func(id string, life time.Duration, size int) FoundValue {
		v, err := values.Parse(wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(id))},
			wire.Pair{Key: "x", Value: wire.RawBytes(make([]byte, size))}))
		require.NoError(t, err)
		return FoundValue{Value: v, Expires: now.Add(life)}
	}
	for name, size := range map[string]int{"too many": 1, "too large": 60_000} {
		t.Run(name, func(t *testing.T) {
			m := merger{limit: 1 << 20}
			var crowd []FoundValue
			for i := range 2 * records.MaxProviders {
				crowd = append(crowd, found(fmt.Sprint("crowd ", i), 24*time.Hour, size))
			}
			honest := []FoundValue{found("one", time.Minute, 1), found("two", time.Minute, 1)}
			m.add(crowd...)
			m.add(honest...)
			m.add(crowd...)
			got := map[string]bool{}
			for _, v := range m.values(now) {
				got[string(v.NodeID)] = true
			}
			require.True(t, got["one"] && got["two"], "of %d", len(got))
			require.LessOrEqual(t, len(got), records.MaxProviders)
			require.LessOrEqual(t, m.bytes, m.limit)
		})
	}
}
