// Package tomlfile reads files in TOML, and tells in which line each key is.
package tomlfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// MaxSize is how long a file may be, in bytes: many times what a configuration has.
const MaxSize = 1 << 20

// File is what is in a file, in its order.
type File struct {
	Sections []Section
	Entries  []Entry
}

// Section is where a table begins.
type Section struct {
	Name  string
	Line  int
	Array bool // [[NAME]], of which there may be several
}

// Entry is a key with its value.
type Entry struct {
	Key   string // with the section before it, dots between
	Line  int
	Value any // as go-toml has it: string, int64, float64, bool, []any, …
}

// Read reads a file. An error of what is no TOML names the file, the line and the column.
func Read(name string) (*File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > MaxSize:
		return nil, fmt.Errorf("%s: more than %d bytes, which no configuration has", name, MaxSize)
	}
	return Parse(name, text)
}

// Parse is Read of a text, under the name of a file.
func Parse(name string, text []byte) (*File, error) {
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		if at, is := errors.AsType[*toml.DecodeError](err); is {
			line, column := at.Position()
			return nil, fmt.Errorf("%s:%d:%d: %s", name, line, column, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f := new(File)
	var p unstable.Parser
	p.Reset(text)
	var section []string
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			parts, line := keyOf(&p, e)
			section = parts
			f.Sections = append(f.Sections, Section{strings.Join(parts, "."), line, e.Kind == unstable.ArrayTable})
		case unstable.KeyValue:
			f.take(&p, e, section, values)
		}
	}
	return f, nil
}

// keyOf returns the parts of a key and its line.
func keyOf(p *unstable.Parser, e *unstable.Node) (parts []string, line int) {
	for keys := e.Key(); keys.Next(); {
		if line == 0 {
			line = p.Shape(keys.Node().Raw).Start.Line
		}
		parts = append(parts, string(keys.Node().Data))
	}
	return parts, line
}

// take takes a key with its value, which may be an inline table of others.
func (f *File) take(p *unstable.Parser, e *unstable.Node, section []string, values map[string]any) {
	parts, line := keyOf(p, e)
	parts = slices.Concat(section, parts)
	key := strings.Join(parts, ".")
	if e.Value().Kind == unstable.InlineTable {
		f.Sections = append(f.Sections, Section{Name: key, Line: line})
		for inner := e.Value().Children(); inner.Next(); {
			f.take(p, inner.Node(), parts, values)
		}
		return
	}
	f.Entries = append(f.Entries, Entry{key, line, valueAt(values, parts)})
}

// valueAt returns the value of a key; nothing where an array of tables is on the way.
func valueAt(values map[string]any, parts []string) any {
	for _, part := range parts[:len(parts)-1] {
		values, _ = values[part].(map[string]any)
	}
	return values[parts[len(parts)-1]]
}
