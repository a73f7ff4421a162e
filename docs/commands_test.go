package docs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/interop/program"
)

// patience is how long it may take until a command has printed what it should.
const patience = 60 * time.Second

// TestCommands has a shell run each command of the documentation as it is written, page by
// page from top to bottom, in a home directory of the page's own, and compares what it
// prints. A node listens on loopback alone, and free ports stand in place of those that a
// page names.
func TestCommands(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands are written for a POSIX shell")
	}
	bin := t.TempDir()
	_, err := program.Build(bin)
	require.NoError(t, err)
	for _, p := range pages(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t)
			for _, b := range p.blocks {
				if typed, _ := b.commands(); strings.Contains(strings.Join(typed, "\n"), "openssl ") {
					if _, err := exec.LookPath("openssl"); err != nil {
						t.Skip("the page uses openssl: ", err)
					}
				}
				s.add(b)
			}
			if len(s.steps) == 0 {
				return
			}
			testscript.Run(t, testscript.Params{
				Files: []string{s.write()},
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
					env.Setenv("HOME", env.WorkDir)
					env.Setenv("MACULA_API", "off")
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"prints": prints, "awaits": awaits, "until": until},
			})
		})
	}
}

// prints PATTERN: the last command printed what the file PATTERN shows.
func prints(s *testscript.TestScript, not bool, args []string) {
	s.Check(shows(s.ReadFile("stdout"), s.ReadFile(args[0])))
}

// awaits OUTPUT PATTERN: a command that goes on has printed, into the file OUTPUT, what the
// file PATTERN shows, sooner or later.
func awaits(s *testscript.TestScript, not bool, args []string) {
	s.Check(eventually(s, args[0], args[1], func() error { return nil }))
}

// until OUTPUT PATTERN SCRIPT: the same, where the shell SCRIPT brings that about. Nobody
// says whether a message arrived, so it is sent again.
func until(s *testscript.TestScript, not bool, args []string) {
	s.Check(eventually(s, args[0], args[1], func() error { return s.Exec("sh", args[2]) }))
}

func eventually(s *testscript.TestScript, output, pattern string, do func() error) error {
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if err := do(); err != nil {
			return err
		}
		printed, err := os.ReadFile(s.MkAbs(output))
		if err == nil {
			err = shows(string(printed), s.ReadFile(pattern))
		}
		if err == nil || time.Since(begun) > patience {
			return err
		}
	}
}

// inexact are the parts of what is shown that are not the same each time: ids, numbers, and
// what is left out.
var inexact = []struct {
	shown   *regexp.Regexp
	printed string
}{
	{regexp.MustCompile(`12D3Koo[\w…]+`), `12D3Koo[\w…]+`},
	{regexp.MustCompile(`\b[0-9a-f]{8,}(\b|…)`), `[0-9a-f]+`},
	{regexp.MustCompile(`[0-9]+(\\\.[0-9]+)?(ns|µs|ms|s|m|h)\b`), `[0-9.]+(ns|µs|ms|s|m|h)`},
	{regexp.MustCompile(`[0-9]+`), `[0-9]+`},
	{regexp.MustCompile(`\s+`), `\s+`},
	{regexp.MustCompile(`…`), `.*`},
}

// shows says what is missing where what was printed has not, line by line, what is shown.
// "…" stands for anything, and alone in a line for any lines.
func shows(printed, shown string) error {
	var all strings.Builder
	all.WriteString(`(?m)^`)
	for line := range strings.Lines(shown) {
		if line = strings.TrimSpace(line); line == "…" {
			all.WriteString(`(?s:.*)`)
			continue
		}
		all.WriteString(`[ \t]*` + asPattern(line) + `\s*`)
	}
	if !regexp.MustCompile(all.String()).MatchString(printed) {
		return fmt.Errorf("what is shown:\n%s\nwas not printed:\n%s", shown, printed)
	}
	return nil
}

// asPattern turns a shown line into a regular expression, part by part.
func asPattern(line string) string {
	quoted := regexp.QuoteMeta(line)
	for i, from := range inexact {
		quoted = from.shown.ReplaceAllString(quoted, fmt.Sprintf("\x00%c", 'a'+i))
	}
	for i, from := range inexact {
		quoted = strings.ReplaceAll(quoted, fmt.Sprintf("\x00%c", 'a'+i), from.printed)
	}
	return quoted
}

// TestShows shows that what was printed has to be what is shown.
func TestShows(t *testing.T) {
	const printed = "id  12D3KooWA\nat  https://127.0.0.1:9443\n\nrtt 1.5ms, 12 of 20\n"
	for name, test := range map[string]struct {
		shown string
		ok    bool
	}{
		"all of it":        {"id 12D3KooWB\nat https://127.0.0.1:1\n\nrtt 20µs, 1 of 2", true},
		"the beginning":    {"id 12D3KooWB", true},
		"lines left out":   {"id 12D3KooWB\n…\nrtt 3s, 1 of 2", true},
		"part of a line":   {"id …\nat https://…", true},
		"another word":     {"id 12D3KooWB\nby https://127.0.0.1:9443", false},
		"one line too few": {"id 12D3KooWB\nrtt 1ms, 1 of 2", false},
		"a number missing": {"id 12D3KooWB\n…\nrtt 1ms, 1 of", true}, // begins so
		"another order":    {"at https://127.0.0.1:9443\nid 12D3KooWB", false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.ok, shows(printed, test.shown) == nil)
		})
	}
}

// TestCommandsNamed shows that each go test command of the documentation names a package,
// tests and flags that there are, and each script one that there is. What they do takes
// too long to be run here.
func TestCommandsNamed(t *testing.T) {
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			typed, _ := b.commands()
			for _, line := range typed {
				line, _, _ = strings.Cut(line, "  #")
				switch words := words(line); {
				case strings.HasPrefix(line, "go test"):
					require.NoError(t, named(words[2:]), "%s: %s", p.name, line)
				case strings.HasPrefix(line, ".ci/"):
					require.FileExists(t, filepath.Join("..", words[0]), "%s: %s", p.name, line)
				}
			}
		}
	}
}

func words(line string) (all []string) {
	for _, word := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1) {
		all = append(all, strings.Trim(word, `'`))
	}
	return all
}

// ofGo are the flags of go test itself, and whether a value follows.
var ofGo = map[string]bool{"-v": false, "-race": false, "-benchmem": false, "-run": true, "-bench": true, "-benchtime": true, "-count": true, "-timeout": true}

// named says what the arguments of a go test command name that there is not.
func named(args []string) error {
	var source strings.Builder
	for _, arg := range args {
		dir, all := strings.CutSuffix(arg, "/...")
		if !strings.HasPrefix(arg, "./") {
			continue
		}
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() && !all && path != filepath.Join("..", dir) {
				return filepath.SkipDir
			}
			if strings.HasSuffix(path, "_test.go") && dir != "." {
				content, err := os.ReadFile(path)
				source.Write(content)
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i, arg := range args {
		name, isFlag := strings.CutPrefix(arg, "-")
		if _, is := ofGo[arg]; !isFlag || is {
			continue
		}
		if !regexp.MustCompile(`flag\.\w+\("` + regexp.QuoteMeta(name) + `"`).MatchString(source.String()) {
			return fmt.Errorf("no flag %s, word %d", arg, i)
		}
	}
	for i := range len(args) - 1 {
		kind := map[string]string{"-run": "Test", "-bench": "Benchmark"}[args[i]]
		if kind == "" || args[i+1] == "^$" {
			continue
		}
		pattern, err := regexp.Compile(args[i+1])
		if err != nil {
			return err
		}
		found := false
		for _, match := range regexp.MustCompile(`(?m)^func (`+kind+`\w+)\(`).FindAllStringSubmatch(source.String(), -1) {
			found = found || pattern.MatchString(match[1])
		}
		if !found {
			return fmt.Errorf("no %s is named %s", kind, args[i+1])
		}
	}
	return nil
}

// TestSnippets compiles the Go of each page: its blocks are the body of one function.
func TestSnippets(t *testing.T) {
	known := map[string]string{
		"fmt": "fmt", "errors": "errors", "maculadht": "protocols/maculadht", "pubsub": "protocols/pubsub", "rpc": "protocols/rpc",
		"wire": "compat/wire", "gateway": "compat/gateway", "dialer": "compat/dialer", "node": "node",
		"pebble": "protocols/maculadht/records/pebble", "records": "protocols/maculadht/records", "routing": "protocols/maculadht/routing",
	}
	for _, p := range pages(t) {
		var body strings.Builder
		for _, b := range p.blocks {
			if _, skip := b.note("not run"); b.lang == "go" && !skip {
				for _, line := range b.lines {
					if !strings.HasPrefix(line, "import ") {
						body.WriteString(line + "\n")
					}
				}
			}
		}
		if body.Len() == 0 {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var file strings.Builder
			file.WriteString("package snippet\n\nimport (\n\"context\"\n\"github.com/libp2p/go-libp2p/core/crypto\"\n\"github.com/libp2p/go-libp2p/core/host\"\n\"github.com/libp2p/go-libp2p/core/peer\"\n")
			for name, path := range known {
				std := name == "fmt" || name == "errors"
				if regexp.MustCompile(`\b` + name + `\.`).MatchString(body.String()) {
					if !std {
						path = "github.com/macula-mesh/macula-node/" + path
					}
					fmt.Fprintf(&file, "%q\n", path)
				}
			}
			file.WriteString(")\n\nfunc shown(ctx context.Context, host host.Host, bootstrap []peer.AddrInfo, key crypto.PrivKey, dir string) error {\n" + body.String() + "return nil\n}\n")
			path := filepath.Join(t.TempDir(), "snippet.go")
			require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o644))
			out, err := exec.Command("go", "build", "-gcflags=-e", path).CombinedOutput()
			var ended *exec.ExitError
			if err != nil && !errors.As(err, &ended) {
				require.NoError(t, err)
			}
			for line := range strings.Lines(string(out)) {
				unused := strings.Contains(line, "declared and not used") // which the reader goes on with
				require.True(t, unused || strings.HasPrefix(line, "#"), "%s%s", line, file.String())
			}
		})
	}
}
