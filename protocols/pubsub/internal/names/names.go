package names

import (
	"strings"

	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/trie"
)

// maxLiteral is how many segments of a pattern's literal part its record tells.
const maxLiteral = 3

// NameOf returns the name under whose key the record of a subscription stands: a
// topic itself, of a pattern the literal part.
func NameOf(pattern string) string {
	end := 0 // of the literal part, with the separator behind
	for segments := 0; ; segments++ {
		segment, _, more := strings.Cut(pattern[end:], ".")
		switch {
		case segment == trie.One || segment == trie.Any || segments == maxLiteral && hasWildcard(pattern[end:]):
			return pattern[:end] + trie.Any
		case !more:
			return pattern
		case segments == maxLiteral:
			return pattern // as it has no wildcard
		}
		end += len(segment) + 1
	}
}

func hasWildcard(pattern string) bool {
	for segment := range strings.SplitSeq(pattern, ".") {
		if segment == trie.One || segment == trie.Any {
			return true
		}
	}
	return false
}

// AskedFor returns the names under whose keys those stand who may have subscribed to a
// topic: see NameOf. The topic itself is the first.
func AskedFor(topic string) []string {
	names := []string{topic, trie.Any}
	end := 0
	for range maxLiteral {
		i := strings.IndexByte(topic[end:], '.')
		if i < 0 {
			break
		}
		end += i + 1
		names = append(names, topic[:end]+trie.Any)
	}
	if strings.Count(topic, ".") < maxLiteral {
		names = append(names, topic+"."+trie.Any) // "a.**" fits "a"
	}
	return names
}
