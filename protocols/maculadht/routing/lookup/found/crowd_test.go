package found

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
	found := func(id string, life time.Duration, size int) Value {
		v, err := values.Parse(wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(id))},
			wire.Pair{Key: "x", Value: wire.RawBytes(make([]byte, size))}))
		require.NoError(t, err)
		return Value{Value: v, Expires: now.Add(life)}
	}
	for name, size := range map[string]int{"too many": 1, "too large": 60_000} {
		t.Run(name, func(t *testing.T) {
			m := Merger{Limit: 1 << 20}
			var crowd []Value
			for i := range 2 * records.MaxProviders {
				crowd = append(crowd, found(fmt.Sprint("crowd ", i), 24*time.Hour, size))
			}
			honest := []Value{found("one", time.Minute, 1), found("two", time.Minute, 1)}
			m.Add(crowd...)
			m.Add(honest...)
			m.Add(crowd...)
			got := map[string]bool{}
			for _, v := range m.Values(now) {
				got[string(v.NodeID)] = true
			}
			require.True(t, got["one"] && got["two"], "of %d", len(got))
			require.LessOrEqual(t, len(got), records.MaxProviders)
			require.LessOrEqual(t, m.bytes, m.Limit)
		})
	}
}
