package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
)

const (
	somePeer = "12D3KooWEn3KXGXEAzdQGFPH3JsoUTyHtS5TK5YKozKs1xJ8cUx1"
	someID   = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"
)

// TestWrongUsage: what can not be carried out ends with exit code 2 and says
// what was wrong, with which value, and what to write instead. Nothing is asked.
func TestWrongUsage(t *testing.T) {
	const erlang = "https://127.0.0.1:9"
	libp2p := "/ip4/127.0.0.1/udp/9/quic-v1/p2p/" + somePeer
	data := t.TempDir()
	tests := []struct {
		name string
		args []string
		want []string // in the message
	}{
		{"no such command", []string{"pign"}, []string{`no command "pign": did you mean ping?`, "run, status, id, ping, find-node, get, lookup, put, call, serve, gateways, subscribe, publish, watch, peers, table, uplinks, clients, records, why, advertise, withdraw, events, ban, doctor, backup, config, version", "--help"}},
		{"help for no such command", []string{"help", "pign"}, []string{"'pign'", "--help"}},
		{"no such flag", []string{"ping", "--bogus", erlang}, []string{"-bogus", "macula-node ping --help"}},
		{"ping without ADDR", []string{"ping"}, []string{"want one ADDR, got 0", "macula-node ping ADDR"}},
		{"ping of two", []string{"ping", erlang, erlang}, []string{"want one ADDR, got 2"}},
		{"gateways without ADDR", []string{"gateways"}, []string{"want one ADDR, got 0", "macula-node gateways ADDR"}},
		{"get of nothing", []string{"get"}, []string{"KEY is missing", "macula-node get [ADDR] (KEY"}},
		{"get without KEY", []string{"get", erlang}, []string{"KEY is missing", "macula-node get [ADDR] (KEY"}},
		{"get of an empty data directory", []string{"get", "--data-dir", "", "k"}, []string{"--data-dir (MACULA_DATA_DIR) is empty"}},
		{"lookup of TCP", []string{"lookup", "--bootstrap", "/ip4/127.0.0.1/tcp/4001/p2p/" + somePeer, "k"}, []string{"/tcp/4001", "not a QUIC address"}},
		{"get of two keys", []string{"get", erlang, "a", "b"}, []string{`"b" is one argument too many`}},
		{"put --replicate at an ADDR", []string{"put", "--replicate", erlang, "k", "{}"}, []string{erlang, "one argument too many", "--bootstrap"}},
		{"get of a key and a service", []string{"get", erlang, "--service", "s", "a"}, []string{`"a" is one argument too many`}},
		{"get of a service and a topic", []string{"get", erlang, "--service", "s", "--topic", "t"}, []string{"--service and --topic are two keys"}},
		{"get of an empty key", []string{"get", erlang, ""}, []string{"KEY of 0 bytes: want 1 to 255"}},
		{"get of a long key", []string{"get", erlang, strings.Repeat("k", 256)}, []string{"KEY of 256 bytes: want 1 to 255"}},
		{"find-node without KEY", []string{"find-node", libp2p}, []string{"KEY is missing", "macula-node find-node"}},
		{"find-node of an Erlang node", []string{"find-node", erlang, "k"}, []string{"FIND_NODE crashes", "--force"}},
		{"put without VALUE", []string{"put", erlang, "k"}, []string{"VALUE is missing", "macula-node put [ADDR]"}},
		{"put of a service without VALUE", []string{"put", erlang, "--service", "s"}, []string{"VALUE is missing"}},

		{"doctor without an endpoint", []string{"doctor"}, []string{"the endpoint is missing", "macula-node doctor https://HOST:PORT"}},
		{"doctor of a multiaddr", []string{"doctor", libp2p}, []string{libp2p, "https://host:port"}},
		{"doctor of a service without a name", []string{"doctor", erlang, "--service", ""}, []string{"--service has no name"}},
		{"doctor of a long key", []string{"doctor", erlang, strings.Repeat("k", 256)}, []string{"KEY of 256 bytes"}},
		{"doctor in no time", []string{"doctor", erlang, "--timeout", "0s"}, []string{"want more than 0, got 0s"}},

		{"run with profiles for everybody", []string{"run", "--data-dir", data, "--pprof", "0.0.0.0:6060"}, []string{"--pprof", `"0.0.0.0:6060"`, "127.0.0.1:PORT"}},
		{"run with traces to what is no URL", []string{"run", "--data-dir", data, "--otlp-endpoint", "localhost:4318"}, []string{"--otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT)", `"localhost:4318"`, "http://HOST:PORT"}},
		{"run with traces to a URL with a password", []string{"run", "--data-dir", data, "--otlp-endpoint", "grpc://u:secret@h"}, []string{`"grpc://xxxxx@h"`, "http://HOST:PORT"}},

		{"ADDR without scheme", []string{"ping", "127.0.0.1:9443"}, []string{"127.0.0.1:9443", "https://host:port", "/p2p"}},
		{"ADDR of http", []string{"ping", "http://127.0.0.1:9443"}, []string{"http://127.0.0.1:9443", "https://"}},
		{"ADDR without a port", []string{"ping", "https://127.0.0.1:0"}, []string{"https://127.0.0.1:0", "no port from 1 to 65535"}},
		{"multiaddr without /p2p", []string{"ping", "/ip4/127.0.0.1/udp/9/quic-v1"}, []string{"/ip4/127.0.0.1/udp/9/quic-v1", "add /p2p/"}},
		{"multiaddr of a peer alone", []string{"ping", "/p2p/" + somePeer}, []string{"does not say where", "/udp/9443/quic-v1/p2p/" + somePeer}},
		{"multiaddr of TCP", []string{"ping", "/ip4/127.0.0.1/tcp/9/p2p/" + somePeer}, []string{"/tcp/9", "not a QUIC address"}},
		{"not a multiaddr", []string{"ping", "/nonsense"}, []string{"/nonsense", "https://host:port"}},

		{"timeout of nothing", []string{"ping", "--timeout", "0s", erlang}, []string{"timeout", "want more than 0, got 0s"}},
		{"timeout without unit", []string{"ping", "--timeout", "5", erlang}, []string{"timeout", `"5"`}},

		{"put of no JSON", []string{"put", erlang, "k", "{"}, []string{"VALUE '{'", "write a JSON object"}},
		{"put of two JSON values", []string{"put", erlang, "k", "{} {}"}, []string{"VALUE '{} {}'", "something follows"}},
		{"put of a list", []string{"put", erlang, "k", "[1]"}, []string{"VALUE '[1]' is not an object", `{"node_id"`}},
		{"put of a text", []string{"put", libp2p, "k", `"plain"`}, []string{`VALUE '"plain"' is not an object`}},
		{"put of a long text", []string{"put", libp2p, "k", `"` + strings.Repeat("x", 100) + `"`}, []string{strings.Repeat("x", 59) + "…' is not"}},
		{"put with ttl 0", []string{"put", erlang, "k", `{"ttl": 0}`}, []string{`"ttl" 0`, "whole seconds, 1 or more"}},
		{"put with a negative ttl", []string{"put", erlang, "k", `{"ttl": -5}`}, []string{`"ttl" -5`}},
		{"put with a fraction for ttl", []string{"put", erlang, "k", `{"ttl": 1.5}`}, []string{`"ttl" 1.5`}},
		{"put with a text for ttl", []string{"put", erlang, "k", `{"ttl": "60"}`}, []string{`"ttl" "60"`}},
		{"put with a number for node_id", []string{"put", erlang, "k", `{"node_id": 1}`}, []string{"VALUE", "node_id"}},
		{"put with bad hexadecimal", []string{"put", erlang, "k", `{"node_id": {"$bin": "0g"}}`}, []string{"VALUE", "$bin"}},
		{"put of too much for anyone", []string{"put", libp2p, "k", `{"x": "` + strings.Repeat("x", 64<<10) + `"}`}, []string{"VALUE", "limit 65536"}},
		{"put of too much for an Erlang node", []string{"put", erlang, "k", `{"node_id": "` + someID + `", "x": "` + strings.Repeat("x", 10_000) + `"}`}, []string{"too large for an Erlang node", "10000"}},
		{"put of what harms an Erlang node", []string{"put", erlang, "peer.gateway.x", provider}, []string{"peer.gateway.", "crashes"}},
		{"put of a short node_id to an Erlang node", []string{"put", erlang, "k", `{"node_id": "me"}`}, []string{`VALUE '{"node_id": "me"}'`, "64 hexadecimal digits", flags.ExampleValue}},
		{"put of no node_id to an Erlang node", []string{"put", erlang, "k", `{}`}, []string{"VALUE '{}'", "node_id is missing", flags.ExampleValue}},
		{"put of a token that is no text to an Erlang node", []string{"put", erlang, "k", `{"node_id": "` + someID + `", "ucan_token": 1}`}, []string{"ucan_token", flags.ExampleValue}},

		{"status with an argument", []string{"status", "x"}, []string{`status takes no arguments, but got "x"; see macula-node status --help`}},
		{"backup without DIR", []string{"backup"}, []string{"want one DIR, got 0", "macula-node backup DIR"}},
		{"backup of no node", []string{"backup", "--data-dir", data + "/none", data + "-copy"}, []string{"no node has run on the data directory " + data + "/none"}},
		{"backup of nothing", []string{"backup", "--data-dir", data, data + "-copy"}, []string{"nothing to back up", data}},
		{"backup onto something", []string{"backup", "--data-dir", data, data}, []string{"there is something already: " + data, "not there yet"}},

		{"run with an argument", []string{"run", "x"}, []string{`run takes no arguments, but got "x"; see macula-node run --help`}},
		{"run on TCP's bootstrap", []string{"run", "--data-dir", data, "--bootstrap", "/ip4/127.0.0.1/tcp/4001/p2p/" + somePeer}, []string{"/tcp/4001", "not a QUIC address"}},
		{"run on one address twice", []string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, []string{"listen address /ip4/127.0.0.1/udp/0/quic-v1 is given twice"}},
		{"run on no data directory", []string{"run", "--data-dir", ""}, []string{"--data-dir (MACULA_DATA_DIR) is empty: write"}},
		{"id of no data directory", []string{"id", "--data-dir", ""}, []string{"--data-dir (MACULA_DATA_DIR) is empty: write"}},
		{"put of an integer beyond 64 bits", []string{"put", erlang, "k", `{"n": 18446744073709551616}`}, []string{"the integer 18446744073709551616 does not fit into 64 bits"}},
		{"id with an argument", []string{"id", "x"}, []string{`id takes no arguments, but got "x"; see macula-node id --help`}},
		{"run with no log level", []string{"run", "--log-level", "loud"}, []string{`--log-level (GOLOG_LOG_LEVEL) "loud"`, "debug, info, warn or error"}},
		{"run with a level of no subsystem", []string{"run", "--log-level", "macula/dht2=debug"}, []string{`no subsystem "macula/dht2"`, "there are: ", "macula/dht"}},
		{"run with a level of libp2p's misspelt", []string{"run", "--log-level", "info,swarm=debug"}, []string{`no subsystem "swarm", there are: swarm2`}},
		{"run with a level of what is like nothing", []string{"run", "--log-level", "xyz=debug"}, []string{`no subsystem "xyz"`, "macula/*", "macula/gateway", "net/identify"}},
		{"run with a level of nothing", []string{"run", "--log-level", "=debug"}, []string{`"=debug" is not`}},
		{"run on TCP", []string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/tcp/1"}, []string{"/ip4/127.0.0.1/tcp/1", "write /ip4/127.0.0.1/udp/1/quic-v1"}},
		{"run on nonsense", []string{"run", "--data-dir", data, "--listen", "9443"}, []string{`"9443"`, "write for example /ip4/"}},
		{"run with a bad bootstrap", []string{"run", "--data-dir", data, "--bootstrap", "/ip4/127.0.0.1/udp/1/quic-v1"}, []string{"/ip4/127.0.0.1/udp/1/quic-v1", "/p2p"}},
		{"run with a bad gateway", []string{"run", "--data-dir", data, "--bootstrap", "https://gw.example.org#sha256=00"}, []string{"https://gw.example.org#sha256=00", "64 hexadecimal digits"}},
		{"run with a port and an address", []string{"run", "--data-dir", data, "--port", "4433", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, []string{"--port (MACULA_QUIC_PORT) 4433", "--listen (MACULA_LISTEN) /ip4/127.0.0.1/udp/0/quic-v1", "write one of them"}},
		{"run on port 0", []string{"run", "--data-dir", data, "--port", "0"}, []string{"--port (MACULA_QUIC_PORT)", "1 to 65535", "--listen /ip4/0.0.0.0/udp/0/quic-v1"}},
		{"run on no port", []string{"run", "--data-dir", data, "--port", "70000"}, []string{`"70000"`, "1 to 65535"}},
		{"run in no TLS mode", []string{"run", "--data-dir", data, "--tls-mode", "strict"}, []string{"--tls-mode (MACULA_TLS_MODE)", `"strict"`, "development or production"}},
		{"run in production without a certificate", []string{"run", "--data-dir", data, "--tls-mode", "production"}, []string{"--tls-cert (MACULA_TLS_CERTFILE)", "--tls-key (MACULA_TLS_KEYFILE)"}},
		{"run with a certificate without its key", []string{"run", "--data-dir", data, "--tls-cert", "/none.pem"}, []string{"/none.pem", "set --tls-key (MACULA_TLS_KEYFILE) too"}},
		{"run with neither true nor false", []string{"run", "--data-dir", data, "--tls-verify-hostname", "maybe"}, []string{"MACULA_TLS_VERIFY_HOSTNAME", `"maybe"`, "true or false"}},
		{"ping in no TLS mode", []string{"ping", "--tls-mode", "strict", erlang}, []string{`"strict"`, "development or production"}},
		{"ping without the CA's file", []string{"ping", "--tls-mode", "production", "--tls-ca", "/none.pem", erlang}, []string{"--tls-ca (MACULA_TLS_CACERTFILE) /none.pem can not be read: no such file"}},
		{"ping with a short pin", []string{"ping", erlang + "#sha256=00"}, []string{"64 hexadecimal digits"}},
		{"run with a URL for hostname", []string{"run", "--data-dir", data, "--hostname", "https://x"}, []string{`"https://x"`, "without https://"}},
		{"run in no mode", []string{"run", "--data-dir", data, "--mode", "leech"}, []string{`--mode (MACULA_MODE) "leech"`, "auto, server or client"}},
		{"run with a long realm", []string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--realm", strings.Repeat("r", 256)}, []string{"realm", "255"}},
		{"run with no size", []string{"run", "--store-memory", "much"}, []string{"--store-memory (MACULA_STORE_MEMORY)", `"much"`, "64MiB"}},
		{"run with a negative size", []string{"run", "--store-disk", "-1"}, []string{"--store-disk (MACULA_STORE_DISK)", `"-1"`, "64MiB"}},
		{"run with no room for connections", []string{"run", "--conn-memory", "1000"}, []string{`--conn-memory (MACULA_CONN_MEMORY) "1000"`, "want 4 MiB to "}},
		{"run with little memory", []string{"run", "--store-memory", "1000"}, []string{`--store-memory (MACULA_STORE_MEMORY) "1000"`, "want 1 MiB to "}},
		{"run with little disk", []string{"run", "--store-disk", "1MB"}, []string{`--store-disk (MACULA_STORE_DISK) "1MB"`, "want 32 MiB to "}},
		{"id in a place that can not be", []string{"id", "--data-dir", filepath.Join("/dev/null", "x")}, []string{"/dev/null/x"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := macula(t, test.args...)
			assert.Equal(t, exitUsage, got.code, got.stderr)
			assert.Empty(t, got.stdout)
			assert.True(t, strings.HasPrefix(got.stderr, "macula-node: "), got.stderr)
			assert.Equal(t, 1, strings.Count(got.stderr, "\n"), "one line: %s", got.stderr)
			for _, want := range test.want {
				assert.Contains(t, got.stderr, want)
			}

			if test.args[0] == "help" {
				return // which has no --json
			}
			asJSON := macula(t, append(test.args[:len(test.args):len(test.args)], "--json")...)
			assert.Equal(t, exitUsage, asJSON.code)
			said := decodeJSON(t, asJSON.stdout)
			assert.Equal(t, 2.0, said["code"])
			assert.Equal(t, strings.TrimSuffix(strings.TrimPrefix(asJSON.stderr, "macula-node: "), "\n"), said["error"])
		})
	}
}

// TestNoHome: no directory is made somewhere in silence.
func TestNoHome(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", "")
	t.Setenv("home", "")
	for _, args := range [][]string{{"run"}, {"id"}, {"get", "k"}, {"lookup", "k"}, {"status"}, {"backup", "dir"}} {
		got := macula(t, args...)
		assert.Equal(t, exitUsage, got.code)
		assert.Contains(t, got.stderr, "HOME is not set")
		assert.Contains(t, got.stderr, "set --data-dir (MACULA_DATA_DIR)")
	}
	entries, err := os.ReadDir(".")
	assert.NoError(t, err)
	assert.Empty(t, entries)
}

// A home that is not there is not made in silence, and does not matter where it is not used.
func TestHomeThatIsNotThere(t *testing.T) {
	home := filepath.Join(t.TempDir(), "away")
	t.Setenv("HOME", home)
	t.Setenv("home", home)
	t.Setenv("USERPROFILE", home)
	for _, args := range [][]string{{"run"}, {"id"}, {"get", "k"}, {"lookup", "k"}, {"status"}, {"backup", "dir"}} {
		got := macula(t, args...)
		assert.Equal(t, exitUsage, got.code)
		assert.Contains(t, got.stderr, "the home directory "+home+" (HOME) does not exist")
		assert.Contains(t, got.stderr, "set --data-dir (MACULA_DATA_DIR)")
	}
	assert.NoDirExists(t, home)
	assert.Equal(t, exitOK, macula(t, "id", "--data-dir", t.TempDir()).code)
}

func TestHelp(t *testing.T) {
	tests := []struct {
		args []string
		want []string
	}{
		{nil, []string{"run", "id", "ping", "find-node", "get", "put", "gateways", "Exit codes: 0 found or ok, 1 not found or not well, 2 wrong usage,", "3 unreachable, refused or not running, 4 ended before the stop was done"}},
		{[]string{"--help"}, []string{"gateways"}},
		{[]string{"help", "put"}, []string{"[ADDR] (KEY | --service NAME | --topic NAME) VALUE", `{"$bin": "<hex>"}`, "--timeout", "--json"}},
		{[]string{"run", "--help"}, []string{"--listen", "--data-dir", "--realm", "--hostname", "--bootstrap", "--mode", "--log-level", "MACULA_REALM", "MACULA_HOSTNAME", "MACULA_DATA_DIR",
			"--port", "MACULA_QUIC_PORT", "--ephemeral", "MACULA_EPHEMERAL", "--store-memory", "MACULA_STORE_MEMORY", "--store-disk", "MACULA_STORE_DISK", "--conn-memory", "MACULA_CONN_MEMORY", "--name", "NODE_NAME", "MACULA_BOOTSTRAP_PEERS", "--tls-mode", "MACULA_TLS_MODE", "--tls-cert", "MACULA_TLS_CERTFILE",
			"--tls-key", "MACULA_TLS_KEYFILE", "--tls-ca", "MACULA_TLS_CACERTFILE", "--tls-verify-hostname", "MACULA_TLS_VERIFY_HOSTNAME"}},
		{[]string{"ping", "--help"}, []string{"MACULA_TLS_MODE", "MACULA_TLS_CACERTFILE", "MACULA_TLS_VERIFY_HOSTNAME"}},
		{[]string{"doctor", "--help"}, []string{"https://HOST:PORT [KEY…]", "--realm", "--service", "--topic", "--write", "--timeout", "Exit codes: 0 nothing failed"}},
		{[]string{"--version"}, []string{"macula-node version"}},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			got := macula(t, test.args...)
			assert.Equal(t, exitOK, got.code)
			assert.Empty(t, got.stderr)
			for _, want := range test.want {
				assert.Contains(t, got.stdout, want)
			}
		})
	}
}

// What is said of a command is for a terminal of 80 columns, but how it is written.
func TestHelpFitsATerminal(t *testing.T) {
	for _, command := range newApp(io.Discard, io.Discard).Commands {
		_, said, described := strings.Cut(macula(t, command.Name, "--help").stdout, "\nDESCRIPTION:")
		require.Equal(t, command.Description != "", described, command.Name)
		if !described {
			_, said, _ = strings.Cut(macula(t, command.Name, "--help").stdout, "\nOPTIONS:")
		}
		require.Contains(t, said, "--help, -h")
		for line := range strings.Lines(said) {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 80, "%s: %s", command.Name, line)
		}
	}
	for line := range strings.Lines(macula(t, "--help").stdout) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 80, line)
	}
}

// A key may be named as what other programs have for a command.
func TestKeysNamedHelp(t *testing.T) {
	_, s := started(t)
	for _, key := range []string{"h", "help"} {
		require.Equal(t, exitOK, macula(t, "put", s.Addrs[0], key, `{"node_id": "`+someID+`"}`).code)
		for _, command := range []string{"get", "lookup"} {
			got := macula(t, command, "--data-dir", t.TempDir(), key)
			require.Contains(t, []int{exitUsage, exitUnreachable}, got.code, "nobody is there to ask: %s%s", got.stdout, got.stderr)
		}
		require.Equal(t, exitOK, macula(t, "lookup", "--bootstrap", s.Addrs[0], key).code)
	}
}

// TestExitCodes: scripts go by them, and with --json by one line that has the code too.
func TestExitCodes(t *testing.T) {
	data, none := t.TempDir(), filepath.Join(t.TempDir(), "none")
	_, s := started(t, "--data-dir", data)
	gone := "/ip4/127.0.0.1/udp/" + silence(t) + "/quic-v1/p2p/" + somePeer
	for name, test := range map[string]struct {
		args []string
		code int
		want []string // in the error
	}{
		"found to be well":         {[]string{"status", "--data-dir", data}, exitOK, nil},
		"nothing under the key":    {[]string{"get", "--data-dir", data, "nothing"}, exitNotFound, []string{"nothing"}},
		"nothing anywhere":         {[]string{"lookup", "--data-dir", data, "nothing"}, exitNotFound, []string{"nothing"}},
		"no such command":          {[]string{"got"}, exitUsage, []string{`there is no command "got"`, "status"}},
		"no such flag":             {[]string{"get", "--dta-dir", data, "k"}, exitUsage, []string{"dta-dir: did you mean --data-dir?", "--help"}},
		"no number":                {[]string{"run", "--port", "http", "--data-dir", none}, exitUsage, []string{`"http"`, "1 to 65535"}},
		"no size":                  {[]string{"run", "--store-memory", "much", "--data-dir", none}, exitUsage, []string{`"much"`, "64MiB"}},
		"no mode":                  {[]string{"run", "--mode", "both", "--data-dir", none}, exitUsage, []string{`"both"`, "auto, server or client"}},
		"no value":                 {[]string{"put", "--data-dir", data, "k", "v"}, exitUsage, []string{"VALUE 'v'", "JSON object"}},
		"no address":               {[]string{"ping", "nowhere"}, exitUsage, []string{"nowhere", "https://"}},
		"no node to get from":      {[]string{"get", "--data-dir", none, "k"}, exitUnreachable, []string{"no macula-node runs there: " + none, "macula-node run", "name another with ADDR", "[ADDR]"}},
		"no node to put to":        {[]string{"put", "--data-dir", none, "k", "{}"}, exitUnreachable, []string{none, "macula-node run"}},
		"no node to begin at":      {[]string{"lookup", "--data-dir", none, "k"}, exitUnreachable, []string{none, "[--bootstrap MULTIADDR]"}},
		"no node to replicate by":  {[]string{"put", "--replicate", "--data-dir", none, "k", "{}"}, exitUnreachable, []string{none, "--bootstrap"}},
		"no directory to back up":  {[]string{"backup", "--data-dir", none, none + "-copy"}, exitUsage, []string{none}},
		"a directory in use":       {[]string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, exitUsage, []string{data, "pid", "directory of its own"}},
		"another realm":            {[]string{"lookup", "--bootstrap", s.Addrs[0], "--realm", "org.other", "k"}, exitUnreachable, []string{"org.other"}},
		"nobody answers":           {[]string{"ping", "--timeout", "300ms", gone}, exitUnreachable, []string{gone, "check the address"}},
		"no node runs":             {[]string{"status", "--data-dir", none}, exitUnreachable, []string{none, "start it with macula-node run", "--data-dir"}},
		"nobody answers a gateway": {[]string{"doctor", "--timeout", "300ms", "https://127.0.0.1:" + silence(t)}, exitUnreachable, []string{"does not answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			plain, asJSON := macula(t, test.args...), macula(t, append([]string{test.args[0], "--json"}, test.args[1:]...)...)
			require.Equal(t, []int{test.code, test.code}, []int{plain.code, asJSON.code}, plain.stderr+asJSON.stderr)
			for _, want := range test.want {
				require.Contains(t, plain.stderr, want)
			}
			said := decodeJSON(t, asJSON.stdout)
			if said["error"] != nil {
				require.Equal(t, float64(test.code), said["code"])
				require.Equal(t, "macula-node: "+said["error"].(string)+"\n", asJSON.stderr[strings.LastIndex(asJSON.stderr, "macula-node: "):])
			} else {
				require.Contains(t, []int{exitOK, exitNotFound, exitUnreachable}, test.code, "%v", said)
			}
			require.NoDirExists(t, none, "what is refused makes nothing")
		})
	}
}
