package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/datadir"
)

func TestStatus(t *testing.T) {
	data := t.TempDir()
	got := macula(t, "status", "--data-dir", data)
	require.Equal(t, exitUnreachable, got.code)
	require.Contains(t, got.stderr, "no macula-node runs there: "+data)

	r, s := started(t, "--data-dir", data, "--realm", "org.example")
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "k", provider).code)
	got = macula(t, "status", "--data-dir", data, "--json")
	require.Equal(t, exitOK, got.code, got.stderr)
	status := decodeJSON(t, got.stdout)
	require.Equal(t, s.PeerID, status["peer_id"])
	require.Equal(t, s.NodeID, status["node_id"])
	require.Equal(t, []any{s.Addrs[0]}, status["addrs"])
	require.Equal(t, []any{s.Endpoints[0]}, status["endpoints"])
	require.Equal(t, float64(os.Getpid()), status["pid"])
	require.Equal(t, data, status["data_dir"])
	require.Equal(t, []any{}, status["problems"])
	kept := status["records"].(object)
	require.Equal(t, 1.0, kept["records"])
	require.Equal(t, 1.0, kept["keys"])
	require.Positive(t, kept["bytes"])

	got = macula(t, "status", "--data-dir", data)
	require.Equal(t, exitOK, got.code, got.stderr)
	for _, want := range []string{"runs on " + data, s.PeerID, s.NodeID, "org.example", s.Addrs[0], s.Endpoints[0], "1 under 1 key, ", "of 128 MiB", "on disk, ", "of 512 MiB in " + filepath.Join(data, "store"), "well      yes"} {
		require.Contains(t, got.stdout, want)
	}
	r.stopped(t)
	require.Equal(t, exitUnreachable, macula(t, "status", "--data-dir", data).code)
	requireFiles(t, data, "identity.key", "node.lock", "tls.pem")
}

// requireFiles checks which files a directory has.
func requireFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	require.Equal(t, want, names)
}

// requireAlone checks that nothing lies beside a directory.
func requireAlone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// A node whose data directory has a path too long for a socket is reached all the same.
func TestStatusOfALongPath(t *testing.T) {
	data := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	started(t, "--data-dir", data)
	got := macula(t, "status", "--data-dir", data)
	require.Equal(t, exitOK, got.code, got.stderr)
}

// A node without a socket, or whose socket nobody answers on, is said to be one.
func TestStatusOfANodeThatDoesNotAnswer(t *testing.T) {
	data := t.TempDir()
	d, err := datadir.Use(data)
	require.NoError(t, err)
	defer d.Close()
	for socket, want := range map[string]string{
		"":                                 "has no local API: its log says why",
		filepath.Join(data, "nobody.sock"): "the node does not answer on its socket",
	} {
		require.NoError(t, d.Publish(datadir.Running{PID: 7, Addrs: []string{"/a"}, Socket: socket}))
		for _, args := range [][]string{{"status"}, {"backup", filepath.Join(data, "..", "copy")}} {
			got := macula(t, append(args, "--data-dir", data)...)
			require.Equal(t, exitUnreachable, got.code)
			require.Contains(t, got.stderr, "with the pid 7")
			require.Contains(t, got.stderr, want)
		}
	}
}

// A node runs on from a backup, whether it was made while it ran or stood still.
func TestBackup(t *testing.T) {
	data := t.TempDir()
	r, s := started(t, "--data-dir", data, "--realm", "org.example")
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "k", provider).code)
	running, still := filepath.Join(t.TempDir(), "running"), filepath.Join(t.TempDir(), "still")
	got := macula(t, "backup", "--data-dir", data, running, "--json")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, running, decodeJSON(t, got.stdout)["dir"])
	requireFiles(t, running, "identity.key", "tls.pem")
	requireAlone(t, running)

	got = macula(t, "backup", "--data-dir", data, running)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "there is something already: "+running)
	require.Equal(t, exitUsage, macula(t, "backup", "--data-dir", data, filepath.Join(data, "inside")).code)

	r.stopped(t)
	got = macula(t, "backup", "--data-dir", data, still)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, "run --data-dir "+still)
	require.Contains(t, got.stdout, "keep it secret")

	for _, dir := range []string{running, still} {
		_, again := started(t, "--data-dir", dir, "--realm", "org.example")
		require.Equal(t, s.PeerID, again.PeerID)
		require.Equal(t, pinIn(t, data), pinIn(t, dir))
		require.Equal(t, exitOK, macula(t, "get", "--data-dir", dir, "k").code)
	}

	left := t.TempDir()
	started(t, "--data-dir", left, "--ephemeral")
	got = macula(t, "backup", "--data-dir", left, filepath.Join(left, "..", "alone"))
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, "identity alone, as there are no records on the disk")

	require.NoError(t, os.Remove(filepath.Join(data, "identity.key")))
	got = macula(t, "backup", "--data-dir", data, filepath.Join(t.TempDir(), "keyless"))
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, "backup of the records alone")
	require.Contains(t, got.stdout, "There is no "+filepath.Join(data, "identity.key"))
	require.NotContains(t, got.stdout, "It holds the node's key")
}

// A node that keeps its records in memory says that it leaves the store alone which is
// there, and what its backup has of it.
func TestEphemeralBesideAStore(t *testing.T) {
	data := t.TempDir()
	r, _ := started(t, "--data-dir", data)
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "kept", provider).code)
	r.stopped(t)
	before := filesIn(t, filepath.Join(data, "store"))

	r, _ = started(t, "--data-dir", data, "--ephemeral")
	store := filepath.Join(data, "store")
	require.Equal(t, 1, strings.Count(r.stderr.String(), "is left as it is and is not read"), r.stderr.String())
	require.Contains(t, r.stderr.String(), store)
	require.Equal(t, exitNotFound, macula(t, "get", "--data-dir", data, "kept").code)
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "passing", provider).code)
	got := macula(t, "status", "--data-dir", data)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, unwrapped(got.stdout), "in memory, gone at its end; "+store+" is left as it is and not read")
	require.Equal(t, store, decodeJSON(t, macula(t, "status", "--data-dir", data, "--json").stdout)["store"].(object)["unread"])

	copied := filepath.Join(t.TempDir(), "copy")
	got = macula(t, "backup", "--data-dir", data, copied)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, "the records that an earlier run left")
	require.Contains(t, got.stdout, "--ephemeral")
	again := filepath.Join(t.TempDir(), "copy")
	require.Equal(t, true, decodeJSON(t, macula(t, "backup", "--data-dir", data, again, "--json").stdout)["unread"])
	r.stopped(t)
	require.Equal(t, before, filesIn(t, store))

	started(t, "--data-dir", copied)
	require.Equal(t, exitOK, macula(t, "get", "--data-dir", copied, "kept").code)
	require.Equal(t, exitNotFound, macula(t, "get", "--data-dir", copied, "passing").code)
}
