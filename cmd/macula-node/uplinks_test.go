package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

// A node's gateways and its clients, as tables of a terminal's width and as JSON.
func TestUplinksAndClients(t *testing.T) {
	data := t.TempDir()
	gateway := erlangGateway(t)
	refused := "https://a-gateway-with-a-long-name.example.invalid:9443"
	_, s := started(t, "--data-dir", data, "--bootstrap", gateway.Endpoint(), "--bootstrap", refused)
	ok := func(args ...string) string {
		t.Helper()
		got := macula(t, append(args, "--data-dir", data)...)
		require.Equal(t, exitOK, got.code, got.stderr)
		return got.stdout
	}
	var all schema.Uplinks
	waitFor(t, "a session, and an error", func() bool {
		all = read[schema.Uplinks](t, ok("uplinks", "--json"))
		return all.Uplinks[0].State == "joined" && all.Uplinks[1].Error != ""
	})
	require.Equal(t, gateway.Endpoint(), all.Uplinks[0].Gateway)
	table := ok("uplinks")
	require.Contains(t, table, "joined")
	require.Contains(t, table, "waiting")
	require.NotContains(t, table, refused)
	require.Contains(t, ok("uplinks", "--wide"), refused)

	require.Equal(t, "it has no clients\n", ok("clients"))
	session, err := gateway.Connect(t.Context(), s.Endpoints[0], []byte(someID))
	require.NoError(t, err)
	t.Cleanup(func() { session.Close() })
	waitFor(t, "a client", func() bool { return len(read[schema.Clients](t, ok("clients", "--json")).Clients) > 0 })
	clients := read[schema.Clients](t, ok("clients", "--json"))
	require.Equal(t, "macula", clients.Clients[0].Dialect)
	require.Contains(t, ok("clients", "--wide"), clients.Clients[0].NodeID)
	for _, text := range []string{table, ok("clients")} {
		for line := range strings.Lines(text) {
			require.LessOrEqual(t, len([]rune(strings.TrimRight(line, " \n"))), 80, line)
		}
	}
	require.Contains(t, macula(t, "uplinks", "x").stderr, "takes no arguments")

	alone := t.TempDir()
	started(t, "--data-dir", alone)
	require.Contains(t, macula(t, "uplinks", "--data-dir", alone).stdout, "no gateway was named")
}

// Shells complete by what the program says of itself.
func TestCompletion(t *testing.T) {
	complete := func(args ...string) string {
		cmd := exec.Command(os.Args[0], append(args, "--generate-shell-completion")...)
		cmd.Env = append(os.Environ(), beMain+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Contains(t, complete("st"), "\nstatus")
	require.Contains(t, complete("run", "--topics-n"), "--topics-names-rate")
	require.Contains(t, complete("config", ""), "\nshow")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := macula(t, "completion", shell)
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Contains(t, got.stdout, "macula-node")
		program, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		script := filepath.Join(t.TempDir(), "script")
		require.NoError(t, os.WriteFile(script, []byte(got.stdout), 0o600))
		out, err := exec.Command(program, "-n", script).CombinedOutput()
		require.NoError(t, err, "%s: %s", shell, out)
	}
	require.Equal(t, exitUsage, macula(t, "completion", "dish").code)
}
