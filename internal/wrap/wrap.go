// Package wrap breaks texts into lines, for a terminal.
package wrap

import (
	"strings"
	"unicode/utf8"
)

// Columns is how many there are of a terminal that is as narrow as any.
const Columns = 80

// Words is Lines that cuts no word: one that is longer, such as an address, which is to be
// copied whole, has a line of its own.
func Words(text string, width int) (lines []string) {
	for _, word := range strings.Fields(text) {
		last := len(lines) - 1
		if last >= 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(word) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// Lines breaks a text at its spaces into lines of width runes at most, of which there is
// one at least. A word that is longer is cut.
func Lines(text string, width int) (lines []string) {
	width = max(width, 1)
	line, used := "", 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n <= width {
			line, used = line+" "+word, used+1+n
			continue
		}
		if used > 0 {
			lines = append(lines, line)
		}
		for runes := []rune(word); n > width; runes = []rune(word) {
			lines = append(lines, string(runes[:width]))
			word, n = string(runes[width:]), n-width
		}
		line, used = word, n
	}
	return append(lines, line)
}
