package flags

import (
	"strings"

	"github.com/agext/levenshtein"
)

// Trimmed returns the entries of a list that are not empty, without spaces
// around: a list in a variable may be broken into lines or end with a comma.
func Trimmed(list []string) []string {
	var entries []string
	for _, entry := range list {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// Nearest returns which of names may be meant by a mistyped one; nothing where none is like
// it.
func Nearest(name string, names []string) string {
	near, least := "", 2+len(name)/3
	for _, n := range names {
		if d := levenshtein.Distance(name, n, nil); d < least {
			near, least = n, d
		}
	}
	return near
}
