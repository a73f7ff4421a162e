package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
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
			foreign := t.TempDir()
			require.Equal(t, exitOK, macula(t, "id", "--data-dir", foreign).code)
			require.NoError(t, os.Rename(filepath.Join(foreign, "identity.key"), filepath.Join(data, "identity.key")))
		}, nil, []string{"not this node's store", "of the node ", "use the key that it was made with"}},
		"without its key": {func(t *testing.T, data string) {
			require.NoError(t, os.Remove(filepath.Join(data, "identity.key")))
		}, nil, []string{"the identity key is missing", "identity.key", "of the node ", "put the key back from a backup", "move the store away"}},
		"without its key and of something else": {func(t *testing.T, data string) {
			require.NoError(t, os.Remove(filepath.Join(data, "identity.key")))
			require.NoError(t, os.Remove(filepath.Join(data, "store", "STORE.json")))
		}, nil, []string{"the identity key is missing"}},
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
			store, before := filesIn(t, filepath.Join(data, "store")), filesIn(t, data)

			got := macula(t, append([]string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, test.args...)...)
			require.Equal(t, exitUsage, got.code)
			require.Empty(t, got.stdout)
			line := got.stderr[strings.Index(got.stderr, "macula-node: "):]
			require.Equal(t, 1, strings.Count(line, "\n"), "one line: %s", line)
			for _, want := range append(test.want, filepath.Join(data, "store")) {
				require.Contains(t, line, want)
			}
			require.Equal(t, store, filesIn(t, filepath.Join(data, "store")))
			require.Equal(t, before, filesIn(t, data), "nothing has been made beside it")
			if _, hasKey := before["identity.key"]; !hasKey {
				got := macula(t, "id", "--data-dir", data)
				require.Equal(t, exitUsage, got.code)
				require.Contains(t, got.stderr, "the identity key is missing")
				require.Equal(t, before, filesIn(t, data))
			}
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
		if e.IsDir() {
			continue
		}
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

// A node whose disk has no room any more says so, refuses what is new, and serves what
// it has; with more room it is well again.
func TestNoRoom(t *testing.T) {
	data := t.TempDir()
	r, s := started(t, "--data-dir", data, "--store-memory", "1GiB", "--store-disk", "32MiB")
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "first", provider).code)
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableMetrics())
	require.NoError(t, err)
	defer h.Close()
	c, err := client.New(h)
	require.NoError(t, err)
	defer c.Close()
	info, err := peer.AddrInfoFromString(s.Addrs[0])
	require.NoError(t, err)
	to := routing.Contact{ID: routing.IDFromPeer(info.ID), Peer: info.ID, Addrs: info.Addrs}
	noise := make([]byte, 60_000) // which can not be compressed
	_, err = rand.Read(noise)
	require.NoError(t, err)
	refused := make(chan error, 1)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 500 {
				value := wire.RawMap(wire.Pair{Key: "noise", Value: wire.RawBytes(noise)}, wire.Pair{Key: "n", Value: wire.RawInt(int64(i))})
				if err := client.Put(t.Context(), c, to, procedures.StoreArgs{Key: fmt.Appendf(nil, "key %d of %d", i, w), Value: value}); err != nil {
					select {
					case refused <- err:
					default:
					}
					return
				}
			}
		})
	}
	all.Wait()
	require.Len(t, refused, 1, "the disk has no room")
	t.Log(<-refused)

	got := macula(t, "status", "--data-dir", data)
	require.Equal(t, exitNotFound, got.code, "not well")
	require.Contains(t, got.stdout, "well      no: nothing new can be stored: no room on the disk")
	require.Contains(t, got.stderr, "not well: nothing new can be stored: no room on the disk")
	require.Contains(t, got.stderr, "a larger --store-disk")
	status := decodeJSON(t, macula(t, "status", "--data-dir", data, "--json").stdout)
	require.Contains(t, status["store"].(object)["failing"], "no room on the disk")
	require.Len(t, status["problems"], 1)
	require.Equal(t, exitUnreachable, macula(t, "put", "--data-dir", data, "new", provider).code)
	require.Equal(t, exitOK, macula(t, "get", "--data-dir", data, "first").code)
	require.Equal(t, 1, strings.Count(r.stderr.String(), "nothing is stored until there is room"), "it is logged once")
	r.stopped(t)

	started(t, "--data-dir", data, "--store-memory", "1GiB")
	require.Equal(t, exitOK, macula(t, "status", "--data-dir", data).code)
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "new", provider).code)
	require.Equal(t, exitOK, macula(t, "get", "--data-dir", data, "first").code)
}
