package resolver

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// A holder that has more of a key than is remembered, and all of it with a long life,
// leaves room for what the others told of.
func TestOneHolderDoesNotCrowdOthersOut(t *testing.T) {
	m, now := merger{limit: 256 << 10}, time.Now()
	found := func(id string, life time.Duration, size int) lookup.FoundValue {
		v, err := values.Parse(wire.RawMap(wire.Pair{Key: "x", Value: wire.RawBytes(make([]byte, size))}, wire.Pair{Key: "node_id", Value: wire.RawBytes(provider(id))}))
		require.NoError(t, err)
		return lookup.FoundValue{Value: v, Expires: now.Add(life)}
	}
	var crowd []lookup.FoundValue
	for i := range 20 {
		crowd = append(crowd, found(fmt.Sprint("crowd ", i), 24*time.Hour, 60<<10))
	}
	m.add(crowd)
	m.add([]lookup.FoundValue{found("one", time.Minute, 1), found("two", time.Minute, 1)})
	m.add(crowd)
	got := map[string]bool{}
	for _, r := range m.records(now) {
		got[string(r.NodeID)] = true
	}
	require.True(t, got[string(provider("one"))] && got[string(provider("two"))], "of %d", len(got))
	require.LessOrEqual(t, m.size, m.limit)
}
