package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// process runs "run" as a process of its own and returns what --json says.
func process(t *testing.T, args ...string) serving {
	t.Helper()
	args = append([]string{"run", "--json", "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, args...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), beMain+"=1")
	var stdout, stderr buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		assert.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		select {
		case err := <-ended:
			assert.NoError(t, err, stderr.String())
		case <-time.After(patience):
			cmd.Process.Kill()
			assert.Fail(t, "does not stop", stderr.String())
		}
	})
	waitFor(t, "the line of --json", func() bool { return strings.HasSuffix(stdout.String(), "\n") })
	var s serving
	require.NoError(t, json.Unmarshal([]byte(stdout.String()), &s), stdout.String())
	return s
}

// TestModes: a client knows others and answers Erlang nodes, but no libp2p peer
// and nobody is told of it; a server is what a client is not.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals there")
	}
	first := process(t, "--mode", "server")
	assert.Equal(t, "server", first.Mode)
	client := process(t, "--mode", "client", "--bootstrap", first.Addrs[0])
	assert.Equal(t, "client", client.Mode)
	auto := process(t, "--bootstrap", first.Addrs[0])
	assert.Equal(t, "auto", auto.Mode)

	waitFor(t, "the client to know the first", func() bool {
		return strings.Contains(macula(t, "gateways", client.Endpoints[0]).stdout, first.NodeID)
	})
	waitFor(t, "the first to list the server", func() bool {
		return strings.Contains(macula(t, "find-node", first.Addrs[0], client.NodeID).stdout, auto.NodeID)
	})
	assert.NotContains(t, macula(t, "find-node", first.Addrs[0], client.NodeID).stdout, client.NodeID)
	assert.NotContains(t, macula(t, "gateways", first.Endpoints[0]).stdout, client.NodeID)

	assert.Equal(t, exitOK, macula(t, "ping", auto.Addrs[0]).code)
	assert.Equal(t, exitOK, macula(t, "ping", client.Endpoints[0]).code)
	got := macula(t, "ping", client.Addrs[0])
	assert.Equal(t, exitUnreachable, got.code)
	assert.Contains(t, got.stderr, "/macula/dht/1.0")
}
