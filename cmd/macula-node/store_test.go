package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What run was given outlives it, unless it was told to keep it in memory.
func TestRecordsOutliveRun(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		env  string
		code int
	}{
		"by default":              {nil, "", exitOK},
		"ephemeral":               {[]string{"--ephemeral"}, "", exitNotFound},
		"ephemeral by a variable": {nil, "1", exitNotFound},
		"not so, by a flag":       {[]string{"--ephemeral=false"}, "1", exitOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("MACULA_EPHEMERAL", test.env)
			data := t.TempDir()
			args := append(test.args, "--data-dir", data)
			r, _ := started(t, args...)
			require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "k", provider).code)
			r.stopped(t)
			r, _ = started(t, args...)
			require.Equal(t, test.code, macula(t, "get", "--data-dir", data, "k").code)
			r.stopped(t)
			_, err := os.Stat(filepath.Join(data, "store"))
			require.Equal(t, test.code == exitOK, err == nil)
			require.NotContains(t, r.stderr.String(), "WARN")
		})
	}
}

// What is no store of this node's is refused in one line that says what to do, and
// stays as it is.
func TestStoresThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, data string)
		args  []string
		want  []string
	}{
		"of another realm": {func(*testing.T, string) {}, []string{"--realm", "org.other"},
			[]string{"not this node's store", `of the realm "macula.default", this node of "org.other"`, "move this one away"}},
		"of another node": {func(t *testing.T, data string) {
			require.NoError(t, os.Remove(filepath.Join(data, "identity.key")))
		}, nil, []string{"not this node's store", "of the node ", "use the key that it was made with"}},
		"of a newer format": {func(t *testing.T, data string) {
			label := filepath.Join(data, "store", "STORE.json")
			var fields map[string]any
			text, err := os.ReadFile(label)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &fields))
			fields["format"] = 1000
			text, err = json.Marshal(fields)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(label, text, 0o600))
		}, nil, []string{"newer format", "run a newer one"}},
		"damaged": {func(t *testing.T, data string) {
			damaged := false
			for _, kind := range []string{"MANIFEST-*", "*.sst"} {
				files, err := filepath.Glob(filepath.Join(data, "store", kind))
				require.NoError(t, err)
				for _, file := range files {
					require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o600))
					damaged = true
				}
			}
			require.True(t, damaged)
		}, nil, []string{"the store is damaged", "put a backup in its place, or move the directory away"}},
		"of something else": {func(t *testing.T, data string) {
			store := filepath.Join(data, "store")
			require.NoError(t, os.RemoveAll(store))
			require.NoError(t, os.Mkdir(store, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(store, "letters"), nil, 0o600))
		}, nil, []string{"holds letters", "name an empty directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			r, _ := started(t, "--data-dir", data)
			require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "k", provider).code)
			r.stopped(t)
			test.spoil(t, data)
			before := filesIn(t, filepath.Join(data, "store"))

			got := macula(t, append([]string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, test.args...)...)
			require.Equal(t, exitUsage, got.code)
			require.Empty(t, got.stdout)
			line := got.stderr[strings.Index(got.stderr, "macula-node: "):]
			require.Equal(t, 1, strings.Count(line, "\n"), "one line: %s", line)
			for _, want := range append(test.want, filepath.Join(data, "store")) {
				require.Contains(t, line, want)
			}
			require.Equal(t, before, filesIn(t, filepath.Join(data, "store")))
			require.NoFileExists(t, filepath.Join(data, "running.json"))
		})
	}
}

// filesIn returns the files of a directory with what is in them.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = string(text)
	}
	return files
}

// All that a process makes in its data directory is its user's alone.
func TestFilesAreTheirOwners(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its mode bits say nothing")
	}
	data := filepath.Join(t.TempDir(), "data")
	started(t, "--data-dir", data)
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "k", provider).code)
	copied := filepath.Join(t.TempDir(), "copy")
	require.Equal(t, exitOK, macula(t, "backup", "--data-dir", data, copied).code)
	for _, dir := range []string{data, copied} {
		require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			require.NoError(t, err)
			require.Zero(t, info.Mode().Perm()&0o077, "%s has the mode %v", path, info.Mode())
			return nil
		}))
	}
	require.NoError(t, os.Chmod(filepath.Join(copied, "store"), 0o755)) // as a copy of a copy may be
	started(t, "--data-dir", copied)
	info, err := os.Stat(filepath.Join(copied, "store"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}
