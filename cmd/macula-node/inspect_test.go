package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

func read[T any](t *testing.T, text string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v), "%s", text)
	return v
}

// What the commands show of two nodes that know each other.
func TestInspect(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	_, a := started(t, "--data-dir", first)
	deny := filepath.Join(t.TempDir(), "deny")
	require.NoError(t, os.WriteFile(deny, nil, 0o600))
	_, b := started(t, "--data-dir", second, "--bootstrap", a.Addrs[0], "--deny", deny)
	waitFor(t, "the two to know each other", func() bool {
		return strings.Contains(macula(t, "table", "--data-dir", first, "--json").stdout, b.NodeID)
	})
	ok := func(args ...string) string {
		t.Helper()
		got := macula(t, args...)
		require.Equal(t, exitOK, got.code, got.stderr)
		return got.stdout
	}
	peers := read[schema.Peers](t, ok("peers", "--data-dir", second, "--json"))
	require.Len(t, peers.Peers, 1)
	require.Equal(t, a.PeerID, peers.Peers[0].PeerID)
	require.Equal(t, schema.KindMacula, peers.Peers[0].Kind)
	require.Equal(t, "out", peers.Peers[0].Direction)
	require.Positive(t, peers.Peers[0].LatencyMS)
	require.NotNil(t, peers.Peers[0].Bucket)
	table := read[schema.Table](t, ok("table", "--data-dir", second, "--json"))
	require.Equal(t, b.NodeID, table.NodeID)
	require.Equal(t, a.NodeID, table.Contacts[0].NodeID)
	require.Equal(t, *peers.Peers[0].Bucket, table.Contacts[0].Bucket)

	require.Contains(t, ok("put", "--data-dir", first, "k", provider), "stored under k for 1m0s")
	page := read[schema.Keys](t, ok("records", "--data-dir", first, "--json"))
	require.Contains(t, keyNames(page), "6b")
	stored := read[schema.Stored](t, ok("records", "--data-dir", first, "k", "--json"))
	require.Equal(t, someID, stored.Records[0].NodeID)
	require.Equal(t, "this node", stored.Records[0].Source)
	require.False(t, stored.Records[0].Proved)
	require.True(t, stored.Near)

	found := ok("lookup", "--data-dir", second, "k")
	require.Contains(t, found, a.PeerID)
	require.Contains(t, found, provider)
	require.Contains(t, ok("why", "--data-dir", second, "k"), "has 1 value")
	missed := macula(t, "why", "--data-dir", second, "nothing", "--json")
	require.Equal(t, exitNotFound, missed.code, missed.stderr)
	require.Contains(t, missed.stderr, "1 node answered, and none has it")
	why := read[struct {
		Here  schema.Stored
		Hops  []schema.Hop
		Found schema.Looked
	}](t, missed.stdout)
	require.Equal(t, schema.LookupNotFound, why.Found.Result)
	require.Equal(t, a.PeerID, why.Hops[0].PeerID)
	require.Nil(t, why.Here.Changed)

	done := read[schema.Advertisement](t, ok("advertise", "--data-dir", first, "--service", "greeter", "https://127.0.0.1:8080", "--json"))
	require.True(t, done.Saved)
	require.Contains(t, ok("get", "--data-dir", first, "--service", "greeter"), "https://127.0.0.1:8080")
	require.Contains(t, ok("withdraw", "--data-dir", first, "--service", "greeter"), "withdrawn: 1 advertisement")
	gone := macula(t, "withdraw", "--data-dir", first, "--service", "greeter")
	require.Equal(t, exitUsage, gone.code, gone.stderr)
	gone = macula(t, "why", "--data-dir", first, "--service", "greeter")
	require.Equal(t, exitNotFound, gone.code)
	require.Contains(t, gone.stderr, "its provider has withdrawn it")
	require.Contains(t, gone.stdout, `service "greeter"`)
	for line := range strings.Lines(gone.stdout) {
		require.LessOrEqual(t, len(line), 80+1, line)
	}

	require.Contains(t, ok("ban", "--data-dir", second, a.PeerID), "is kept away, also after a restart")
	waitFor(t, "the connection to be closed", func() bool {
		return !strings.Contains(macula(t, "peers", "--data-dir", second, "--json").stdout, a.PeerID)
	})
	text, err := os.ReadFile(deny)
	require.NoError(t, err)
	require.Equal(t, a.PeerID+"\n", string(text))
	require.Contains(t, ok("ban", "--data-dir", second), a.PeerID)
	require.Contains(t, ok("ban", "--remove", "--data-dir", second, a.PeerID), "may come again")
	wrong := macula(t, "ban", "--data-dir", second, "nobody")
	require.Equal(t, exitUsage, wrong.code)
	require.Contains(t, wrong.stderr, "neither a peer id nor an address range")

	for _, command := range []string{"peers", "table", "records"} {
		for line := range strings.Lines(ok(command, "--data-dir", first)) {
			require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80, line)
		}
	}
	require.Contains(t, ok("version"), "macula-node ")
}

func keyNames(page schema.Keys) (names []string) {
	for _, k := range page.Keys {
		names = append(names, k.Key)
	}
	return names
}

// The local API over TCP: where it is said, it is.
func TestAPIOverTCP(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data, "--api", "127.0.0.1:0")
	url := decodeJSON(t, macula(t, "status", "--data-dir", data, "--json").stdout)["api"].(string)
	resp, err := http.Get(url + "/v1/health")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.JSONEq(t, `{"well":true,"ready":true,"problems":[]}`, string(text))
	metrics, err := http.Get(url + "/metrics")
	require.NoError(t, err)
	defer metrics.Body.Close()
	text, err = io.ReadAll(metrics.Body)
	require.NoError(t, err)
	for _, name := range []string{"macula_node_ready 1", "go_goroutines ", "libp2p_"} {
		require.Contains(t, string(text), "\n"+name)
	}
	http.DefaultClient.CloseIdleConnections()

	taken := strings.TrimPrefix(url, "http://")
	got := macula(t, "run", "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--api", taken)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, taken)
	got = macula(t, "run", "--data-dir", t.TempDir(), "--api", "nowhere")
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, `--api (MACULA_API) "nowhere": the local API's address "nowhere" is not HOST:PORT`)
}
