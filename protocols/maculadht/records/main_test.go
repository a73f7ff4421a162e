package records

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// newManager returns a manager that is closed when the test ends. In a synctest
// bubble, close it inside the bubble instead.
func newManager(tb testing.TB, opts ...Option) *Manager {
	tb.Helper()
	m, err := New(opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.Close()) })
	return m
}

func newRand(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 1))
}

// stranger returns a source of an IP group of its own.
func stranger(name string) Source { return Source{Name: name, Group: "group of " + name} }

// nodeID returns the node id of a peer.
func nodeID(name string) []byte {
	id := sha256.Sum256([]byte(name))
	return id[:]
}

// eachKey calls visit with all that a store holds, be it expired.
func eachKey(tb testing.TB, s Store, visit func(key []byte, recs []Record)) {
	tb.Helper()
	for cursor := Cursor(""); ; {
		keys, next, err := s.Keys(tb.Context(), nil, cursor, 7)
		require.NoError(tb, err)
		for _, key := range keys {
			recs, err := s.Get(tb.Context(), key)
			require.NoError(tb, err)
			visit(key, recs)
		}
		if next == "" {
			return
		}
		cursor = next
	}
}

func values(recs []Record) []string {
	out := make([]string, len(recs))
	for i, r := range recs {
		out[i] = string(r.Value)
	}
	return out
}
