package main

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestModes: a client knows others and answers Erlang nodes, but no libp2p peer
// and nobody is told of it; a server is what a client is not.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals there")
	}
	_, first := process(t, "--mode", "server")
	assert.Equal(t, "server", first.Mode)
	_, client := process(t, "--mode", "client", "--bootstrap", first.Addrs[0])
	assert.Equal(t, "client", client.Mode)
	_, auto := process(t, "--bootstrap", first.Addrs[0])
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
