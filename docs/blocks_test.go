// Package docs is the documentation. Its tests run the commands that it and the README
// show, and compile their Go.
package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// block is a fenced block of a page.
type block struct {
	lang  string
	lines []string
	notes []string // the comments right before it: "not run: why", "beside: a command that runs meanwhile"
}

// page is a Markdown file.
type page struct {
	name   string
	blocks []block
}

// pages returns all Markdown files that are about the program.
func pages(t *testing.T) (all []page) {
	t.Helper()
	for _, pattern := range []string{"../*.md", "*.md"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			source, err := os.ReadFile(name)
			require.NoError(t, err)
			all = append(all, page{filepath.Base(name), blocks(source)})
		}
	}
	require.NotEmpty(t, all)
	return all
}

func blocks(source []byte) (all []block) {
	doc := goldmark.DefaultParser().Parse(text.NewReader(source))
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		fenced, ok := n.(*ast.FencedCodeBlock)
		if !ok {
			continue
		}
		b := block{lang: string(fenced.Language(source)), lines: linesOf(n, source)}
		for at := n.PreviousSibling(); at != nil && at.Kind() == ast.KindHTMLBlock; at = at.PreviousSibling() {
			for _, line := range linesOf(at, source) {
				note := strings.TrimSuffix(strings.TrimPrefix(line, "<!--"), "-->")
				b.notes = append(b.notes, strings.TrimSpace(note))
			}
		}
		all = append(all, b)
	}
	return all
}

func linesOf(n ast.Node, source []byte) (lines []string) {
	for i := range n.Lines().Len() {
		at := n.Lines().At(i)
		lines = append(lines, strings.TrimRight(string(at.Value(source)), "\n"))
	}
	return lines
}

// note returns what follows a word in a block's notes.
func (b *block) note(word string) (rest string, ok bool) {
	for _, note := range b.notes {
		if rest, ok := strings.CutPrefix(note, word+": "); ok {
			return rest, true
		}
	}
	return "", false
}

// commands returns what a block has one type: all of one of lang sh, and what is behind "$ "
// of one of lang console; and what that prints, as far as the block shows it.
func (b *block) commands() (typed, printed []string) {
	if b.lang == "sh" {
		return b.lines, nil
	}
	if b.lang != "console" {
		return nil, nil
	}
	for i, line := range b.lines {
		rest, prompt := strings.CutPrefix(line, "$ ")
		switch {
		case prompt || i > 0 && strings.HasSuffix(b.lines[i-1], `\`) && printed == nil:
			typed = append(typed, rest)
		default:
			printed = append(printed, line)
		}
	}
	return typed, printed
}
