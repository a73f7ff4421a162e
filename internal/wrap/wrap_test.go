package wrap

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		width int
		want  []string
	}{
		"nothing":               {"", 5, []string{""}},
		"what fits":             {"one two", 7, []string{"one two"}},
		"at its spaces":         {"one two three", 7, []string{"one two", "three"}},
		"spaces and line ends":  {" one\n\ttwo  ", 10, []string{"one two"}},
		"a long word":           {"a abcdefgh b", 3, []string{"a", "abc", "def", "gh", "b"}},
		"a word as long":        {"abc def", 3, []string{"abc", "def"}},
		"runes, and not bytes":  {"äöü äöü", 7, []string{"äöü äöü"}},
		"a width of no meaning": {"ab", 0, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, Lines(test.text, test.width)) })
	}
}

func TestWords(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		width int
		want  []string
	}{
		"nothing":       {"", 5, nil},
		"at its spaces": {"one two three", 7, []string{"one two", "three"}},
		"a long word":   {"a abcdefgh b c", 3, []string{"a", "abcdefgh", "b c"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, Words(test.text, test.width)) })
	}
}
