package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What init writes check finds right, run goes by once it says something, and show tells where
// each value comes from.
func TestConfigFile(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "macula.toml")
	got := macula(t, "config", "init", "--data-dir", data)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, "written: "+file+"\n", got.stdout)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	got = macula(t, "config", "init", "--data-dir", data)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "there is a file "+file+" already")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(text), macula(t, "config", "init", "-").stdout)

	require.NoError(t, os.WriteFile(file, []byte(strings.NewReplacer(`#realm = "macula.default"`, `realm = "org.file"`, "#listen = []", `listen = ["/ip4/127.0.0.1/udp/0/quic-v1"]`).Replace(string(text))), 0o600))
	got = macula(t, "config", "check", "--data-dir", data)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, file+" is right: of 2 settings it says something\n", got.stdout)

	t.Setenv("MACULA_RELAM", "x")
	t.Setenv("NODE_NAME", "by-variable")
	r, s := started(t, "--data-dir", data, "--topics-names", "7")
	require.Equal(t, "org.file", s.Realm)
	require.Equal(t, "by-variable", s.Name)
	require.Contains(t, r.stderr.String(), "the variable MACULA_RELAM means nothing to this program: did you mean MACULA_REALM?")
	require.Equal(t, exitOK, macula(t, "get", "--data-dir", data, "--realm", "org.file", "k").code/2, "not found, but of its realm")

	var shown struct {
		File     string
		Settings []struct {
			Key, Source, Where string
			Value              any
		}
	}
	require.NoError(t, json.Unmarshal([]byte(macula(t, "config", "show", "--json", "--data-dir", data, "--topics-names", "7").stdout), &shown))
	require.Equal(t, file, shown.File)
	where := map[string]string{}
	for _, s := range shown.Settings {
		where[s.Key] = s.Source + " " + s.Where
	}
	require.Regexp(t, `^file .*macula.toml:\d+$`, where["realm"])
	require.Equal(t, "environment NODE_NAME", where["name"])
	require.Equal(t, "flag --topics-names", where["topics.names"])
	require.Equal(t, "default default", where["store.memory"])
}

func TestConfigThatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.toml")
	require.NoError(t, os.WriteFile(file, []byte("realm = \"r\"\nstore-memry = 1\ndeny = \"none.txt\"\n[calls]\ntime = 5\n"), 0o600))
	for _, args := range [][]string{{"config", "check", file}, {"config", "show", "--config", file}, {"run", "--config", file}} {
		got := macula(t, args...)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, file+`:2: there is no setting "store-memry": did you mean "store.memory"?`)
		require.Contains(t, got.stderr, file+`:5: calls.time "5": want a time with its unit, such as "5m"`)
		require.Equal(t, args[1] == "check", strings.Contains(got.stderr, "the files that they name, is looked at once this is right"))
		said := decodeJSON(t, macula(t, append(args, "--json")...).stdout)
		require.Equal(t, 2.0, said["code"])
	}
	require.NoError(t, os.WriteFile(file, []byte("deny = \"none.txt\"\n"), 0o600))
	for _, args := range [][]string{{"config", "check", file}, {"run", "--config", file, "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}} {
		got := macula(t, args...)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, file+":1: deny: deny list: open "+filepath.Join(filepath.Dir(file), "none.txt"))
	}
	got := macula(t, "config", "check", "--data-dir", t.TempDir())
	require.Contains(t, got.stderr, "nothing is wrong with the environment")
	t.Setenv("MACULA_DENY", "/none.txt")
	got = macula(t, "config", "check", "--data-dir", t.TempDir())
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "--deny (MACULA_DENY): deny list: open /none.txt")
	require.NotContains(t, got.stderr, "nothing is wrong")
	t.Setenv("MACULA_DENY", "")
	for want, args := range map[string][]string{
		"write config init, config check or config show": {"config"},
		`there is no command "chek" of config`:           {"config", "chek"},
		"there is no configuration file":                 {"config", "check", "--data-dir", t.TempDir()},
		"want one FILE at most":                          {"config", "check", file, file},
		"none.toml: no such file":                        {"config", "check", "none.toml"},
		"--config is empty":                              {"config", "show", "--config", ""},
	} {
		got := macula(t, args...)
		require.Equal(t, exitUsage, got.code, args)
		require.Contains(t, got.stderr, want)
	}
}

// A command that asks takes what it has flags for from the file, and minds nothing else there.
func TestCommandsReadTheFile(t *testing.T) {
	_, s := started(t, "--realm", "org.file")
	file := filepath.Join(t.TempDir(), "m.toml")
	require.NoError(t, os.WriteFile(file, []byte("realm = \"org.file\"\nmode = \"wrong\"\nbootstrap = [\""+s.Addrs[0]+"\"]\n"), 0o600))
	got := macula(t, "lookup", "--config", file, "nothing")
	require.Equal(t, exitNotFound, got.code, got.stderr)
	got = macula(t, "lookup", "--config", file, "--realm", "org.other", "nothing")
	require.Equal(t, exitUnreachable, got.code, got.stderr)
}

func TestHelpOfLimits(t *testing.T) {
	short, all := macula(t, "run", "--help").stdout, macula(t, "run", "--help-all")
	require.Equal(t, exitOK, all.code, all.stderr)
	require.NotContains(t, short, "--topics-names")
	require.Contains(t, short, "--help-all")
	require.Contains(t, all.stdout, "LIMITS OF TOPICS:")
	require.Contains(t, all.stdout, "--topics-names NUMBER")
	require.Contains(t, all.stdout, "--listen MULTIADDR")
	for line := range strings.Lines(all.stdout) {
		require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, line)
	}
}
