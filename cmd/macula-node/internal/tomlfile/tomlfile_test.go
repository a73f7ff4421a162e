package tomlfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	f, err := Parse("f", []byte("a = 1\n# [no]\n\n[b]\nc = \"x\"\n\"d e\" = [1,\n  2]\nf.g = true\nin = { h = 1.5, i = { j = \"k\" } }\n[b.l]\nm = '''\n\n'''\nn = 2\n[[o]]\np = 1\n"))
	require.NoError(t, err)
	require.Equal(t, []Entry{
		{"a", 1, int64(1)}, {"b.c", 5, "x"}, {"b.d e", 6, []any{int64(1), int64(2)}}, {"b.f.g", 8, true},
		{"b.in.h", 9, 1.5}, {"b.in.i.j", 9, "k"}, {"b.l.m", 11, "\n"}, {"b.l.n", 14, int64(2)}, {"o.p", 16, nil},
	}, f.Entries)
	require.Equal(t, []Section{{"b", 4, false}, {"b.in", 9, false}, {"b.in.i", 9, false}, {"b.l", 10, false}, {"o", 15, true}}, f.Sections)
}

func TestWhatIsNoTOML(t *testing.T) {
	for text, want := range map[string]string{
		"a = 1\nb =": "f:2:", "a = 1\na = 2": "f:2:1:", "[a]\n[a]": "f:2:", "a = \"\xff\"": "f:1:",
	} {
		_, err := Parse("f", []byte(text))
		require.ErrorContains(t, err, want)
	}
	name := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(name, []byte(strings.Repeat("#", MaxSize+1)), 0o600))
	_, err := Read(name)
	require.ErrorContains(t, err, "more than 1048576 bytes")
	_, err = Read(name + ".none")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("store = { memory = 1, disk = \"x\" }\n[\"a.b\"]\nc = [[1]]\n[[calls]]\nd.e = 2026-01-01\n"))
	f.Add([]byte("[a.b]\nc = '''\n'''\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("f", text)
		if err != nil {
			return
		}
		for _, e := range file.Entries {
			if e.Line < 1 || e.Line > 1+strings.Count(string(text), "\n") {
				t.Fatalf("%s is in line %d", e.Key, e.Line)
			}
		}
	})
}
