package settings

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node"
)

// without has no variable of the environment, nor a home with a file, be in a test's way.
func without(t *testing.T) {
	t.Helper()
	for _, name := range Variables() {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
}

// typed is a command line.
func typed(pairs ...string) func(string) ([]string, bool) {
	return func(name string) (texts []string, is bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				texts, is = append(texts, pairs[i+1]), true
			}
		}
		return texts, is
	}
}

// in resolves a file with a text.
func in(t *testing.T, text string, pairs ...string) (*Effective, string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "m.toml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	e, err := Resolve(Given{Flag: typed(pairs...), File: name})
	return e, name, err
}

func TestNamesAreOfOneSetting(t *testing.T) {
	keys, names, variables := map[string]bool{}, map[string]bool{"json": true, "config": true, HelpAll: true, "help": true}, map[string]bool{Variable: true}
	for _, s := range Table() {
		require.False(t, keys[s.Key], s.Key)
		require.False(t, names[s.Flag], s.Flag)
		require.False(t, variables[s.Variable], s.Variable)
		keys[s.Key], names[s.Flag], variables[s.Variable] = true, true, true
		require.Regexp(t, `^[a-z-]+(\.[a-z-]+)?$`, s.Key)
		require.NotContains(t, s.Usage, `"`)
		if s.Kind != Bool || s.word {
			require.Equal(t, 2, strings.Count(s.Usage, "`"), "%s: the word for its value", s.Key)
		}
		if s.Limit && s.Kind != Bool {
			unit := regexp.MustCompile("`(.*)`").FindStringSubmatch(s.Usage)[1]
			require.Equal(t, map[Kind]string{Size: "SIZE", Duration: "TIME", Count: "NUMBER", Rate: "NUMBER"}[s.Kind], unit, s.Key)
		}
	}
}

// Each field of the configuration, those of every part's limits among them, is a setting.
func TestEveryFieldIsASetting(t *testing.T) {
	elsewhere := map[string]string{
		"Records.Bytes":       "is store.memory",
		"Streams.Accounts":    "are [accounts]",
		"Parts.Gateway.Conns": "is for ports that are no node's: a node has [conn]",

		"Conn.Limits.Everywhere":     "is group-private",
		"Accounts.Everywhere":        "is group-private",
		"Parts.Diversity.Everywhere": "is group-private",
	}
	fields := make(map[string]bool)
	for _, s := range Table() {
		fields[s.field] = true
	}
	leaves, seen := 0, map[reflect.Type]bool{}
	var walk func(v reflect.Type, path, promoted string)
	walk = func(v reflect.Type, path, promoted string) {
		if elsewhere[path] != "" {
			return
		}
		if v.Kind() != reflect.Struct {
			leaves++
			assert.True(t, fields[promoted], "%s is no setting", path)
			return
		}
		seen[v] = true
		for i := range v.NumField() {
			f, below := v.Field(i), promoted
			if !f.Anonymous {
				below = strings.TrimPrefix(promoted+"."+f.Name, ".")
			}
			walk(f.Type, strings.TrimPrefix(path+"."+f.Name, "."), below)
		}
	}
	walk(reflect.TypeFor[Config](), "", "")
	require.Equal(t, leaves, len(fields), "a setting of each field")

	inside := map[string]string{ // limits that others are worked out to
		"protocols/maculadht/server/outbox.Limits": "those of [streams]",
		"internal/budget.StorageLimits":            "those of [records]",
	}
	var known []string
	for v := range seen {
		known = append(known, strings.TrimPrefix(v.PkgPath(), "github.com/macula-mesh/macula-node/")+"."+v.Name())
	}
	known = append(known, "internal/conns.Limits")
	root := filepath.Join("..", "..", "..", "..")
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "interop") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, is := n.(*ast.TypeSpec); is && strings.HasSuffix(spec.Name.Name, "Limits") {
				if _, is := spec.Type.(*ast.StructType); is {
					rel, _ := filepath.Rel(root, filepath.Dir(path))
					name := filepath.ToSlash(rel) + "." + spec.Name.Name
					assert.True(t, slices.Contains(known, name) || inside[name] != "", "%s has no settings", name)
				}
			}
			return true
		})
		return nil
	}))
}

// What is written for somebody to change says what holds anyway.
func TestTemplateHasTheDefaults(t *testing.T) {
	without(t)
	var text bytes.Buffer
	require.NoError(t, WriteTemplate(&text))
	for line := range strings.Lines(text.String()) {
		require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, line)
	}
	all := regexp.MustCompile(`(?m)^#([a-z-]+ = )`).ReplaceAllString(text.String(), "$1")
	all = strings.Replace(all, "\nport = ", "\n#port = ", 1) // which an empty list of listen addresses does not contradict
	e, _, err := in(t, all)
	require.NoError(t, err)
	plain, err := Resolve(Given{Flag: typed()})
	require.NoError(t, err)
	e.Config.Listen, e.Config.Bootstrap, e.Config.Announce = nil, nil, nil
	require.Equal(t, plain.Config, e.Config)
	for i, v := range e.Values {
		require.Equal(t, len(plain.Values[i].Texts), len(v.Texts), v.Key)
		if v.Key != "port" {
			require.Equal(t, FromFile, v.Source, v.Key)
		}
	}
}

// What is shown can be put in again.
func TestShownIsTakenAgain(t *testing.T) {
	without(t)
	t.Setenv("MACULA_BOOTSTRAP_PEERS", "https://a.example.org, https://b.example.org,")
	t.Setenv("MACULA_QUIC_PORT", "4433")
	e, _, err := in(t, "name = \"a\\\"b\\\\c\\u001b é\"\nhealth-port = 8080\ndeny = \"deny.txt\"\n[store]\nmemory = 1048577\n[calls]\ntime = \"1.5s\"\n[accounts]\nsource-frame-rate = 0.5\n",
		"tls-verify-hostname", "false", "topics-names", "7", "listen", "/ip4/127.0.0.1/udp/0/quic-v1", "allow", "allow.txt")
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, e.WriteText(&text))
	require.NotContains(t, text.String(), "\x1b")
	t.Setenv("MACULA_BOOTSTRAP_PEERS", "")
	t.Setenv("MACULA_QUIC_PORT", "")
	again, _, err := in(t, text.String())
	require.NoError(t, err, text.String())
	e.Config.Allow, err = filepath.Abs(e.Config.Allow)
	require.NoError(t, err)
	require.Equal(t, e.Config, again.Config)
	require.Equal(t, []string{"https://a.example.org", "https://b.example.org"}, again.Config.Bootstrap)
	require.Equal(t, int64(1<<20+1), again.Config.Store.Memory)
	require.Equal(t, 1500*time.Millisecond, again.Config.Calls.Time)
}

func TestOrderOfSources(t *testing.T) {
	without(t)
	file := "realm = \"file\"\n"
	e, _, err := in(t, "")
	require.NoError(t, err)
	require.Equal(t, "default", e.Of("realm").Where())
	e, name, err := in(t, "\n"+file)
	require.NoError(t, err)
	require.Equal(t, "file", e.Config.Realm)
	require.Equal(t, name+":2", e.Of("realm").Where())
	t.Setenv("MACULA_REALM", "variable")
	e, _, err = in(t, file)
	require.NoError(t, err)
	require.Equal(t, "variable", e.Config.Realm)
	require.Equal(t, "MACULA_REALM", e.Of("realm").Where())
	e, _, err = in(t, file, "realm", "flag")
	require.NoError(t, err)
	require.Equal(t, "flag", e.Config.Realm)
	require.Equal(t, "--realm", e.Of("realm").Where())
}

// Of a port and listen addresses the later source's holds.
func TestPortAndListen(t *testing.T) {
	without(t)
	const listen = "/ip4/127.0.0.1/udp/1/quic-v1"
	for name, test := range map[string]struct {
		file   string
		typed  []string
		port   int
		listen bool
		err    string
	}{
		"neither":                    {"", nil, 9443, false, ""},
		"both in the file":           {"port = 1\nlisten = [\"" + listen + "\"]", nil, 0, false, "m.toml:1: port 1 and "},
		"both as flags":              {"", []string{"port", "1", "listen", listen}, 0, false, "--port (MACULA_QUIC_PORT) 1 and --listen"},
		"a flag over the file's":     {"listen = [\"" + listen + "\"]", []string{"port", "2"}, 2, false, ""},
		"addresses over the file's":  {"port = 3", []string{"listen", listen}, 0, true, ""},
		"addresses over the default": {"listen = [\"" + listen + "\"]", nil, 0, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, _, err := in(t, test.file, test.typed...)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			cfg, err := e.Node("v")
			require.NoError(t, err)
			require.Equal(t, uint16(test.port), cfg.Port)
			require.Equal(t, test.listen, len(cfg.Listen) == 1)
			require.NoError(t, cfg.Check())
		})
	}
}

// What is empty is as if it were not set, but for the data directory, of which nobody wants the
// default in its place.
func TestEmptyIsNotSet(t *testing.T) {
	without(t)
	e, _, err := in(t, "mode = \"\"\napi = \"\"\nport = \"\"\n[calls]\ntime = \"\"\n[store]\nmemory = \"\"\n", "realm", "", "data-dir", "")
	require.NoError(t, err)
	plain, err := Resolve(Given{Flag: typed()})
	require.NoError(t, err)
	plain.Config.DataDir = ""
	require.Equal(t, plain.Config, e.Config)
}

// Of two that bound one another one can be set alone.
func TestOneOfTwo(t *testing.T) {
	without(t)
	e, _, err := in(t, "[conn]\nhigh = 100\n[records]\nproviders-per-source = 600\n")
	require.NoError(t, err)
	cfg, err := e.Node("v")
	require.NoError(t, err)
	require.NoError(t, cfg.Check())
	require.Equal(t, 100, cfg.ConnsHigh)
	require.Equal(t, 600, cfg.Records.ProvidersPerSource)
}

// What is wrong is said with its line, its value and what is allowed: all of it, in order.
func TestWrongFiles(t *testing.T) {
	without(t)
	for text, want := range map[string][]string{
		"realm = ":                           {":1:", "expected"},
		"port = 70000":                       {`:1: port "70000": want 1 to 65535`},
		"port = \"x\"":                       {`:1: port "x": want a whole number, without quotes`},
		"strict = \"yes\"":                   {`:1: strict "yes": want true or false, without quotes`},
		"listen = \"/ip4/\"":                 {`:1: listen "/ip4/": want a list of texts`},
		"listen = [1]":                       {`:1: listen "[1]": want a list of texts`},
		"realm = 2026-01-01":                 {`:1: realm "2026-01-01": want a text, in quotes`},
		"relam = \"x\"":                      {`:1: there is no setting "relam": did you mean "realm"?`},
		"store-memory = 1":                   {`:1: there is no setting "store-memory": write memory in the section [store]`},
		"data_dir = \"x\"":                   {`:1: there is no setting "data_dir": write data-dir above all sections`},
		"[store]\nrealm = \"x\"":             {`:2: there is no setting "store.realm": write realm above all sections`},
		"[stroe]\nmemory = 1":                {`:1: there is no section [stroe]: did you mean [store]?`, `:2: there is no setting "stroe.memory"`},
		"[[store]]\nmemory = 1":              {`:1: [[store]]: write [store]`},
		"[store]\nmemory = \"much\"":         {`:2: store.memory "much": write a size such as 64MiB`},
		"[store]\nmemory = \"12 EiB\"":       {`:2: store.memory "12 EiB": want 1 MiB to 1 PiB`},
		"store = { memory = 1 }":             {`:1: store.memory "1": want 1 MiB to 1 PiB`},
		"[calls]\ntime = 5":                  {`:2: calls.time "5": want a time with its unit, such as "5m"`},
		"[calls]\ntime = \"-5s\"":            {`:2: calls.time "-5s": want 1ns or more`},
		"[topics]\nnames = 0":                {`:2: topics.names "0": want a whole number, 1 or more`},
		"[dialer]\nmax-streams = 101":        {`:2: dialer.max-streams "101": want 1 to 100`},
		"[accounts]\nsource-frame-rate = -1": {`:2: accounts.source-frame-rate "-1": want a number above 0`},
		"deny = \"~/deny\"":                  {`:1: deny "~/deny": write the whole path`},
		"otlp-endpoint = \"http://u:secret@h\"\nmode = \"x\"\n[log]\nlevel = \"loud\"": {`:2: mode "x": write auto, server or client`, `:4: log.level "loud": "loud" is not debug`},
	} {
		_, name, err := in(t, text)
		require.Error(t, err, text)
		at := 0
		for _, part := range want {
			i := strings.Index(err.Error()[at:], part)
			if strings.HasPrefix(part, ":") {
				i = strings.Index(err.Error()[at:], name+part)
			}
			require.GreaterOrEqual(t, i, 0, "%q: %v", text, err)
			at += i
		}
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := Resolve(Given{Flag: typed(), File: filepath.Join(t.TempDir(), "none.toml")})
	require.ErrorContains(t, err, "none.toml")
}

// The file in the data directory is read without a word, and can not name another directory.
func TestFileInTheDataDirectory(t *testing.T) {
	without(t)
	data := t.TempDir()
	name := filepath.Join(data, FileName)
	require.NoError(t, os.WriteFile(name, []byte("realm = \"there\"\ndeny = \"deny.txt\""), 0o600))
	e, err := Resolve(Given{Flag: typed("data-dir", data)})
	require.NoError(t, err)
	require.Equal(t, "there", e.Config.Realm)
	require.Equal(t, filepath.Join(data, "deny.txt"), e.Config.Deny, "relative to the file")
	require.Equal(t, name, e.File)

	require.NoError(t, os.WriteFile(name, []byte("data-dir = \"/elsewhere\""), 0o600))
	t.Setenv("MACULA_DATA_DIR", data)
	require.Equal(t, data, os.Getenv("MACULA_DATA_DIR"))
	_, err = Resolve(Given{Flag: typed()})
	require.NoError(t, err, "the variable holds anyway")
	t.Setenv("MACULA_DATA_DIR", "")
	require.NoError(t, os.MkdirAll(filepath.Join(os.Getenv("HOME"), ".macula-node"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("HOME"), ".macula-node", FileName), []byte("data-dir = \"/elsewhere\""), 0o600))
	_, err = Resolve(Given{Flag: typed()})
	require.ErrorContains(t, err, `data-dir "/elsewhere": the file in a data directory can not name another one`)
}

// Settings that a command has not are none of its business, be they wrong.
func TestOnlyWhatIsAskedFor(t *testing.T) {
	without(t)
	name := filepath.Join(t.TempDir(), "m.toml")
	require.NoError(t, os.WriteFile(name, []byte("mode = \"x\"\nrealm = \"r\"\nnothing = 1"), 0o600))
	e, err := Resolve(Given{Flag: typed(), File: name, Wanted: func(key string) bool { return key == "realm" }})
	require.NoError(t, err)
	require.Equal(t, "r", e.Config.Realm)
	require.Len(t, e.Values, 1)
}

func TestUnknownVariables(t *testing.T) {
	without(t)
	for _, name := range []string{"MACULA_RELAM", "MACULA_XQZZYWV", "MACULA_SERVICE_HOST", "MACULA_PORT", "MACULA_PORT_9443_UDP_ADDR", "MACULA_NODE_SERVICE_PORT_QUIC", "XMACULA_A"} {
		t.Setenv(name, "x")
	}
	require.Equal(t, []string{
		"the variable MACULA_RELAM means nothing to this program: did you mean MACULA_REALM?",
		"the variable MACULA_XQZZYWV means nothing to this program",
	}, UnknownVariables())
}

func TestPasswordsAreNotShown(t *testing.T) {
	without(t)
	for given, want := range map[string]string{
		"http://user:secret@collector:4318": "http://xxxxx@collector:4318",
		"http://user:secret%zz@h:4318":      "http://xxxxx@h:4318",
		"http://user:secr/et?@#@h:4318":     "http://xxxxx@h:4318",
		"grpc://user:secret@h":              "grpc://xxxxx@h",
		"https://secret@h":                  "https://xxxxx@h",
		"//user:secret@h":                   "//xxxxx@h",
		"user:secret@10.0.0.1:4318":         "xxxxx@10.0.0.1:4318",
		"user:secret//x@h":                  "xxxxx@h",
		"secret@h":                          "xxxxx@h",
	} {
		e, _, err := in(t, "", "otlp-endpoint", given)
		require.NoError(t, err)
		var text bytes.Buffer
		require.NoError(t, e.WriteText(&text))
		require.NotContains(t, text.String(), "secr", given)
		require.Contains(t, text.String(), fmt.Sprintf("#otlp-endpoint = %q  # --otlp-endpoint, its password is not shown", want))
		for _, s := range e.Shown() {
			if s.Key == "otlp-endpoint" {
				require.Equal(t, want, s.Value)
				require.True(t, s.Hidden)
			}
		}
	}
	e, _, err := in(t, "", "otlp-endpoint", "http://collector:4318", "name", "me@home")
	require.NoError(t, err)
	require.False(t, e.Of("otlp-endpoint").secret())
	require.False(t, e.Of("name").secret())
}

// The errors of a node's configuration name where to write otherwise.
func TestErrorsNameTheirSettings(t *testing.T) {
	without(t)
	e, name, err := in(t, "allow = \"none.txt\"\n[diversity]\nper-table = 1\n", "hostname", "https://x", "deny", "/none")
	require.NoError(t, err)
	cfg, err := e.Node("v")
	require.NoError(t, err)
	said := e.Named(cfg.Check()).Error()
	require.Contains(t, said, name+":1: allow: allow list: ")
	require.Contains(t, said, "--deny (MACULA_DENY): deny list: ")
	require.Contains(t, said, "--hostname (MACULA_HOSTNAME): ")
	require.Contains(t, said, "[diversity] (--diversity-…): diversity of 2 a bucket, 1 a table")
	for field := range keysOf {
		_, is := reflect.TypeFor[node.Config]().FieldByName(field)
		require.True(t, is, field)
		require.NotNil(t, Lookup(keysOf[field]), field)
	}
	for _, section := range sectionsOf {
		require.Contains(t, sections(), section)
	}
}

var update = flag.Bool("update", false, "write the table of settings into docs/OPERATIONS.md")

// The table in docs/OPERATIONS.md is this one.
func TestDocumentationHasTheTable(t *testing.T) {
	without(t)
	name := filepath.Join("..", "..", "..", "..", "docs", "OPERATIONS.md")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	before, rest, begun := strings.Cut(string(text), "<!-- settings -->\n")
	got, after, ended := strings.Cut(rest, "<!-- end of settings -->")
	require.True(t, begun && ended)
	var want bytes.Buffer
	require.NoError(t, WriteMarkdown(&want))
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(before+"<!-- settings -->\n"+want.String()+"<!-- end of settings -->"+after), 0o644))
		return
	}
	require.True(t, want.String() == got, "run go test ./cmd/macula-node/internal/settings -update")
}
