package trie

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for pattern, want := range map[string]string{
		"a.b":                                "",
		"*.b.**":                             "",
		"**.a.**":                            "",
		"**.**.a.**":                         `has 3 "**", want at most 2`,
		strings.Repeat("a.", 127):            "", // a topic
		"*" + strings.Repeat(".a", 15):       "",
		"*" + strings.Repeat(".a", 16):       "has 17 segments, want at most 16",
		strings.Repeat("*.", 9) + "**":       "",
		strings.Repeat("*.", 10) + "**":      "has 11 segments, want at most 10",
		strings.Repeat("**.a.", 10) + "a.**": `has 11 "**"`,
	} {
		err := Check(pattern)
		if want == "" {
			require.NoError(t, err, pattern)
		} else {
			require.ErrorContains(t, err, want, pattern)
		}
	}
}

// BenchmarkIntricate walks over 1,024 patterns made to be looked at all the time, beside
// as many that are not.
func BenchmarkIntricate(b *testing.B) {
	topic := strings.Repeat("a.", 127)
	for name, patternOf := range map[string]func(n int) string{
		"plain": func(n int) string { return fmt.Sprintf("org.%d.*.temp", n) },
		"intricate": func(n int) string {
			p := Any
			for bit := range 7 {
				p += "." + []string{"a", One}[n>>bit&1]
			}
			return p + fmt.Sprintf(".**.%d", n>>7)
		},
	} {
		b.Run(name, func(b *testing.B) {
			var t Trie[int]
			for n := range 1024 {
				require.NoError(b, Check(patternOf(n)))
				t.Add(patternOf(n), n)
			}
			for b.Loop() {
				t.Match(topic, func(int) {})
			}
		})
	}
}
