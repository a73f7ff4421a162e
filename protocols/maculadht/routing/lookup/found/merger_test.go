package found

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Of one provider what is proved stands, in whatever order holders answer, and what was
// withdrawn is not told.
func TestProvedStands(t *testing.T) {
	now := time.Now()
	of := func(text string, sequence int64, left time.Duration) Value {
		v := Value{Value: values.Value{Raw: wire.Raw(text), NodeID: []byte("n")}, Expires: now.Add(left)}
		if sequence > 0 {
			v.Proof = &records.Proof{Sequence: sequence}
		}
		if text == "" {
			v.Raw = nil
		}
		return v
	}
	forged, old, newer, gone := of("forged", 0, time.Hour), of("old", 1, time.Minute), of("new", 2, time.Second), of("", 3, time.Second)
	for name, test := range map[string]struct {
		values []Value
		want   string
	}{
		"proved last":     {[]Value{forged, old}, "old"},
		"proved first":    {[]Value{old, forged}, "old"},
		"the newer last":  {[]Value{old, newer}, "new"},
		"the newer first": {[]Value{newer, old, forged}, "new"},
		"withdrawn last":  {[]Value{forged, old, newer, gone}, ""},
		"withdrawn first": {[]Value{gone, newer, old, forged}, ""},
	} {
		var m Merger
		for _, v := range test.values {
			m.Add(v)
		}
		told := m.Values(now)
		if test.want == "" {
			require.Empty(t, told, name)
			continue
		}
		require.Len(t, told, 1, name)
		require.Equal(t, test.want, string(told[0].Raw), name)
	}
	var m Merger
	m.Add(old)
	require.False(t, m.IsFresher(forged))
	require.False(t, m.IsFresher(old))
	require.True(t, m.IsFresher(newer))
}

func TestMergerIsBounded(t *testing.T) {
	now := time.Now()
	tests := map[string]struct {
		values, size int
		kept         int
	}{
		"few":          {10, 10, 10},
		"many":         {2 * records.MaxProviders, 10, records.MaxProviders},
		"many and big": {500, 60_000, maxMerged / 60_000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var m Merger
			raw := wire.Raw(strings.Repeat("x", tt.size))
			for i := range tt.values {
				v := values.Value{Raw: raw, NodeID: fmt.Append(nil, i)}
				m.Add(Value{Value: v, Expires: now.Add(time.Duration(i+1) * time.Second)})
				require.LessOrEqual(t, m.bytes, maxMerged)
			}
			kept := m.Values(now)
			require.Len(t, kept, tt.kept)
			require.Equal(t, fmt.Append(nil, tt.values-1), kept[0].NodeID, "those with the longest life stay")
			require.Equal(t, tt.kept*tt.size, m.bytes)
		})
	}
}
