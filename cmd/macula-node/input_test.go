package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// What a variable says is as wrong as what is typed, and named with what it says.
func TestWrongVariables(t *testing.T) {
	data := t.TempDir()
	for variable, value := range map[string]string{
		"MACULA_EPHEMERAL": "maybe", "MACULA_QUIC_PORT": "x", "HEALTH_PORT": "x", "MACULA_STORE_MEMORY": "x", "MACULA_STORE_DISK": "x",
		"MACULA_CONN_MEMORY": "x", "MACULA_TLS_MODE": "x", "MACULA_TLS_VERIFY_HOSTNAME": "x", "GOLOG_LOG_LEVEL": "loud", "GOLOG_LOG_FMT": "xml",
		"MACULA_BOOTSTRAP_PEERS": "nonsense", "MACULA_HOSTNAME": "https://x", "MACULA_REALM": strings.Repeat("r", 256),
		"MACULA_TLS_CERTFILE": "/none.pem", "MACULA_TLS_KEYFILE": "/none.pem",
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			got := macula(t, "run", "--data-dir", data)
			require.Equal(t, exitUsage, got.code, got.stderr)
			require.Contains(t, got.stderr, variable)
			require.Contains(t, got.stderr, value)
		})
	}
}

// A wrong flag is named.
func TestWrongFlagsAreNamed(t *testing.T) {
	data := t.TempDir()
	for flag, value := range map[string]string{
		"--mode": "leech", "--listen": "9443", "--hostname": "https://x", "--bootstrap": "nonsense", "--realm": strings.Repeat("r", 256), "--swarm-key": "/none",
		"--port": "x", "--health-port": "x", "--store-memory": "x", "--tls-mode": "x", "--log-level": "loud", "--log-format": "xml",
	} {
		got := macula(t, "run", "--data-dir", data, flag, value)
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, flag)
		require.Contains(t, got.stderr, value)
	}
}

// from has standard input come from a file of so many bytes.
func from(t *testing.T, n int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.WriteFile(path, []byte(`"`+strings.Repeat("x", n-2)+`"`), 0o600))
	in, err := os.Open(path)
	require.NoError(t, err)
	was := os.Stdin
	os.Stdin = in
	t.Cleanup(func() {
		os.Stdin = was
		require.NoError(t, in.Close())
	})
}

// What is too long is refused, and not cut.
func TestInputTooLong(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data)
	for command, what := range map[string]string{"call": "ARGS", "publish": "PAYLOAD"} {
		from(t, wire.MaxPayload+1)
		got := macula(t, command, "--data-dir", data, "x", "-")
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, what+" from standard input has more than 1048576 bytes")
	}
	from(t, 1<<19)
	got := macula(t, "publish", "--data-dir", data, "--json", "x", "-")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.JSONEq(t, `{"topic":"x","bytes":524288}`, got.stdout)
}

// What others would be told otherwise than it was typed is refused.
func TestNoUTF8(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data)
	for what, args := range map[string][]string{
		"TOPIC": {"publish", "a\xff", "p"}, "PATTERN": {"subscribe", "a\xff"}, "PROCEDURE": {"call", "a\xff"},
		"ARGS": {"call", "a", "\"\xff\""}, "VALUE": {"put", "k", "{\"x\": \"\xff\"}"}, "PROCEDURE ": {"serve", "a\xff", "--", "cat"},
		"ENTRY": {"ban", "a\xff"}, "--service": {"advertise", "--service", "a\xff"}, "ENDPOINT": {"advertise", "--service", "a", "https://\xff"},
		"VALUE ": {"advertise", "k", "{\"x\": \"\xff\"}"},
	} {
		got := macula(t, append([]string{args[0], "--data-dir", data}, args[1:]...)...)
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, strings.TrimSpace(what)+" ")
		require.Contains(t, got.stderr, "no UTF-8 text")
	}
}

// What holders of keys tell is published by them alone.
func TestPublishUnderAKey(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data)
	got := macula(t, "publish", "--data-dir", data, "$key."+someID, "p")
	require.Equal(t, exitUsage, got.code, got.stderr)
	require.Contains(t, got.stderr, "$key.")
}

// What looks like a mistake is said, and carried out.
func TestNotes(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data)
	short, bad := someID[:63], "zz"+someID[2:]
	for name, test := range map[string]struct {
		args []string
		code int
		note string // nothing for none
	}{
		"a key of 63 digits":         {[]string{"get", short}, exitNotFound, "taken as a text"},
		"a key of other than digits": {[]string{"get", bad}, exitNotFound, "taken as a text"},
		"an odd number behind 0x":    {[]string{"get", "0x123"}, exitNotFound, "taken as a text"},
		"a key":                      {[]string{"get", someID}, exitNotFound, ""},
		"bytes":                      {[]string{"get", "0x1234"}, exitNotFound, ""},
		"a name":                     {[]string{"get", "be.cortexiq.test.a-name-that-is-as-long-as-a-key-and-is-none"}, exitNotFound, ""},
		"a value unseen":             {[]string{"put", "k", `{"x": 1}`}, exitOK, "Erlang nodes will not see the value"},
		"a value seen":               {[]string{"put", "seen", `{"node_id": "` + someID + `"}`}, exitOK, ""},
		"a value advertised unseen":  {[]string{"advertise", "unseen", `{"x": 1}`}, exitOK, "Erlang nodes will not see the value"},
		"a key advertised":           {[]string{"advertise", someID[1:], provider}, exitOK, "taken as a text"},
		"a provider":                 {[]string{"put", "p", provider}, exitOK, ""},
	} {
		t.Run(name, func(t *testing.T) { requireNote(t, data, test.args, test.code, test.note) })
	}
	requireNote(t, data, []string{"get", "k"}, exitOK, "")
	requireNote(t, data, []string{"get", "p"}, exitOK, "not proved to be of its node_id")
}

func requireNote(t *testing.T, data string, args []string, code int, note string) {
	t.Helper()
	got := macula(t, append([]string{args[0], "--data-dir", data}, args[1:]...)...)
	require.Equal(t, code, got.code, got.stderr)
	said := strings.Split(strings.TrimSpace(got.stderr), "\n")
	if code != exitOK {
		said = said[:len(said)-1] // that nothing was found
	}
	if note == "" {
		require.Empty(t, strings.Join(said, ""))
		return
	}
	require.Contains(t, said[0], note)
}

func TestServeWithoutDashes(t *testing.T) {
	data := t.TempDir()
	started(t, "--data-dir", data)
	for _, args := range [][]string{{"x", "cat"}, {"x", "cat", "--"}, {"x", "env", "--", "cat"}} {
		got := macula(t, append([]string{"serve", "--data-dir", data}, args...)...)
		require.Equal(t, exitUsage, got.code, "%v: %s", args, got.stderr)
		require.Contains(t, got.stderr, "--")
		require.Contains(t, got.stderr, "usage: macula-node serve PROCEDURE -- COMMAND")
	}
}

// Without a port it is said which one was tried.
func TestEndpointWithoutAPort(t *testing.T) {
	got := macula(t, "ping", "--timeout", "200ms", "https://192.0.2.1")
	require.Equal(t, exitUnreachable, got.code)
	require.Contains(t, got.stderr, "https://192.0.2.1:9443 (https://192.0.2.1 names no port, which is 9443 then)")
	got = macula(t, "ping", "--timeout", "200ms", "https://127.0.0.1:"+silence(t))
	require.NotContains(t, got.stderr, "names no port")
}

// How a node is fits a terminal, but for addresses, which are to be copied.
func TestStatusFitsATerminal(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	started(t, "--data-dir", data, "--bootstrap", "/ip4/127.0.0.1/udp/"+silence(t)+"/quic-v1/p2p/"+somePeer)
	waitFor(t, "a problem", func() bool { return macula(t, "status", "--data-dir", data).code == exitNotFound })
	for line := range strings.Lines(macula(t, "status", "--data-dir", data).stdout) {
		line = strings.TrimRight(line, "\n")
		if utf8.RuneCountInString(line) > 80 {
			require.Contains(t, []int{1, 2, 3}, len(strings.Fields(line)), line)
			require.Contains(t, line, "/", line)
		}
	}
}

// What find-node prints is an ADDR.
func TestFindNodeAddresses(t *testing.T) {
	_, first := started(t)
	_, second := started(t, "--bootstrap", first.Addrs[0])
	var text string
	waitFor(t, "a contact", func() bool {
		text = macula(t, "find-node", first.Addrs[0], "k").stdout
		return strings.Contains(text, "/p2p/"+second.PeerID)
	})
	fields := strings.Fields(text)
	require.Equal(t, exitOK, macula(t, "ping", fields[len(fields)-1]).code, text)
}
