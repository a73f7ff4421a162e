package interop

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// logLines reads a log in JSON.
func logLines(t *testing.T, p *process) (lines []map[string]any) {
	t.Helper()
	text := p.Log()
	text = text[:strings.LastIndexByte(text, '\n')+1] // a line may be on its way
	for line := range strings.Lines(text) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), "%q", line)
		for _, key := range []string{"ts", "level", "logger", "msg"} {
			require.NotEmpty(t, fields[key], "%q has no %s", line, key)
		}
		lines = append(lines, fields)
	}
	return lines
}

// What a person wants to know of a peer and of an Erlang node that come and go
// stands in the log once, at info, and nothing is a warning.
func TestLogTellsWhoComesAndGoes(t *testing.T) {
	first := startProcess(t, "--log-format", "json")
	second := startProcess(t, "--log-format", "json", "--bootstrap", first.Addrs[0])
	count := func(p *process, logger, msg string) (n int) {
		for _, l := range logLines(t, p) {
			if l["logger"] == logger && l["msg"] == msg && l["level"] == "info" {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return count(second, "macula/dht", "joined the network") == 1 }, patience, tick)
	require.Eventually(t, func() bool { return count(first, "macula/dht", "peer came") == 1 }, patience, tick)
	require.Equal(t, 1, count(second, "macula/dht", "peer came"))
	require.Equal(t, 1, count(second, "macula/dht", "connected to bootstrap peer"))

	node := dialRaw(t, first.udp(t))
	frame, err := framing.AppendFrame(nil, &wire.Connect{Version: wire.ProtocolVersion, NodeID: []byte("an Erlang node"), RealmID: testRealm})
	require.NoError(t, err)
	talkRaw(t, node).send(frame)
	require.Eventually(t, func() bool { return count(first, "macula/gateway", "Erlang node came") == 1 }, patience, tick)
	node.CloseWithError(0, "")
	require.Eventually(t, func() bool { return count(first, "macula/gateway", "Erlang node left") == 1 }, patience, tick)

	second.stop()
	require.Eventually(t, func() bool { return count(first, "macula/dht", "peer left") == 1 }, patience, tick)
	for _, p := range []*process{first, second} {
		for _, l := range logLines(t, p) {
			require.Equal(t, "info", l["level"], "%v", l)
		}
	}
}
