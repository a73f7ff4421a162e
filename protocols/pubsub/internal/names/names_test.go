package names

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/trie"
)

func TestNameOf(t *testing.T) {
	for pattern, want := range map[string]string{
		"a":             "a",
		"a.b.c.d.e.f":   "a.b.c.d.e.f",
		"a.b.c.d.*":     "a.b.c.**",
		"a.b.c.**":      "a.b.c.**",
		"a.b.c.*":       "a.b.c.**",
		"a.b.*.temp":    "a.b.**",
		"a.*":           "a.**",
		"*":             "**",
		"**":            "**",
		"**.temp":       "**",
		"a..*":          "a..**",
		".*":            ".**",
		"a*.b":          "a*.b",
		"a.b.c.d.e.**":  "a.b.c.**",
		"a.b.c.d.e*.**": "a.b.c.**",
	} {
		require.Equal(t, want, NameOf(pattern), pattern)
	}
}

func TestAskedFor(t *testing.T) {
	require.Equal(t, []string{"a", "**", "a.**"}, AskedFor("a"))
	require.Equal(t, []string{"a.b", "**", "a.**", "a.b.**"}, AskedFor("a.b"))
	require.Equal(t, []string{"a.b.c", "**", "a.**", "a.b.**", "a.b.c.**"}, AskedFor("a.b.c"))
	require.Equal(t, []string{"a.b.c.d.e", "**", "a.**", "a.b.**", "a.b.c.**"}, AskedFor("a.b.c.d.e"))
}

// Whoever has a pattern that fits a topic is told of under a name that its publisher
// asks for.
func TestPatternsAreFound(t *testing.T) {
	const seed = 3
	rng := rand.New(rand.NewPCG(seed, 0))
	text := func(from ...string) string {
		segments := make([]string, 1+rng.IntN(6))
		for i := range segments {
			segments[i] = from[rng.IntN(len(from))]
		}
		return strings.Join(segments, ".")
	}
	fit := 0
	for range 20_000 {
		pattern, topic := text("a", "b", "*", "**", ""), text("a", "b", "")
		if trie.Fits(pattern, topic) && topic != "" {
			fit++
			require.True(t, slices.Contains(AskedFor(topic), NameOf(pattern)), "seed %d: %q announced as %q, of %q is asked %q", seed, pattern, NameOf(pattern), topic, AskedFor(topic))
		}
	}
	require.Greater(t, fit, 500)
}
