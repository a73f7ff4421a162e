package trie

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fits is what a pattern means, said as briefly as can be.
func fits(pattern, topic []string) bool {
	switch {
	case len(pattern) == 0:
		return len(topic) == 0
	case pattern[0] == Any:
		return fits(pattern[1:], topic) || len(topic) > 0 && fits(pattern, topic[1:])
	case len(topic) == 0:
		return false
	}
	return (pattern[0] == One || pattern[0] == topic[0]) && fits(pattern[1:], topic[1:])
}

func TestFits(t *testing.T) {
	for _, test := range []struct {
		pattern string
		topics  []string // that it fits
		others  []string
	}{
		{"a", []string{"a"}, []string{"", "b", "a.b", "a."}},
		{"w.*", []string{"w.a", "w."}, []string{"w", "w.a.b", "x.a"}},
		{"w.**", []string{"w", "w.a", "w.a.b", "w."}, []string{"x", "wa", "x.w"}},
		{"a.**.end", []string{"a.end", "a.b.end", "a.end.end", "a.b.c.end"}, []string{"a", "end", "a.end.b", "b.end"}},
		{"*.b.c", []string{"a.b.c", ".b.c"}, []string{"b.c", "a.a.b.c", "a.b.c.d"}},
		{"**", []string{"", "a", "a.b.c"}, nil},
		{"**.**", []string{"", "a", "a.b.c"}, nil},
		{"*", []string{"", "a"}, []string{"a.b"}},
		{"**.x.**", []string{"x", "a.x", "x.a", "a.x.b", "x.x"}, []string{"a", "", "xx"}},
		{"a.*.**.z", []string{"a.b.z", "a.b.c.z", "a.z.z"}, []string{"a.z", "a.b"}},
		{"", []string{""}, []string{"a"}},
		{"a*", []string{"a*"}, []string{"ab"}},
	} {
		t.Run(test.pattern, func(t *testing.T) {
			for _, topic := range test.topics {
				require.True(t, Fits(test.pattern, topic), "%q", topic)
			}
			for _, topic := range test.others {
				require.False(t, Fits(test.pattern, topic), "%q", topic)
			}
		})
	}
}

// Whatever is added and removed, a walk finds what each pattern by itself fits.
func TestMatchesAsEachByItself(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	text := func(from []string, most int) string {
		segments := make([]string, 1+rng.IntN(most))
		for i := range segments {
			segments[i] = from[rng.IntN(len(from))]
		}
		return strings.Join(segments, ".")
	}
	type entry struct {
		pattern string
		v       int
	}
	var all Trie[int]
	held := map[entry]bool{}
	for round := range 3000 {
		e := entry{text([]string{"a", "b", "*", "**"}, 5), rng.IntN(20)}
		if rng.IntN(3) > 0 {
			require.Equal(t, !held[e], all.Add(e.pattern, e.v), "seed %d, round %d", seed, round)
			held[e] = true
		} else {
			for other := range held {
				if rng.IntN(2) == 0 {
					e = other
				}
				break
			}
			require.Equal(t, held[e], all.Remove(e.pattern, e.v))
			delete(held, e)
		}
		if round%10 > 0 {
			continue
		}
		topic := text([]string{"a", "b", "c"}, 6)
		var want, got []int
		for e := range held {
			if fits(strings.Split(e.pattern, "."), strings.Split(topic, ".")) {
				want = append(want, e.v)
			}
		}
		all.Match(topic, func(v int) { got = append(got, v) })
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got, "seed %d, round %d, topic %q", seed, round, topic)
	}
	for e := range held {
		require.True(t, all.Remove(e.pattern, e.v))
	}
	require.True(t, all.IsEmpty(), "nothing is left of what was removed")
}

// A pattern of many "**" is no slower than another.
func TestManyLoops(t *testing.T) {
	pattern := strings.Repeat("**.a.", 50) + "z"
	topic := strings.Repeat("a.", 120)
	require.False(t, Fits(pattern, topic+"y"))
	require.True(t, Fits(pattern, topic+"z"))
}

func FuzzMatch(f *testing.F) {
	for _, seed := range []string{"a|a", "w.*|w.a", "w.**|w", "a.**.end|a.b.end", "**.**.x|x", "..|..", "*|", "**.*.**|a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pattern, topic, ok := strings.Cut(text, "|")
		if !ok || strings.Count(pattern, Any) > 6 || len(topic) > 40 { // else the plain way takes too long
			return
		}
		require.Equal(t, fits(strings.Split(pattern, "."), strings.Split(topic, ".")), Fits(pattern, topic))
	})
}

func BenchmarkMatch(b *testing.B) {
	var t Trie[int]
	for i := range 1000 {
		t.Add(fmt.Sprintf("be.cortexiq.*.sensor%d.**", i%200), i)
	}
	b.ReportAllocs()
	for b.Loop() {
		t.Match("be.cortexiq.test.sensor7.temp", func(int) {})
	}
}
