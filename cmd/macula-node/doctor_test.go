package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

const glassRealm = "be.cortexiq.test"

// gatewayDouble starts the double of an Erlang node, which must be unharmed and
// have nobody connected when the test ends.
func gatewayDouble(t *testing.T) *glass.Gateway {
	t.Helper()
	g, err := glass.Start(glass.Realm(glassRealm), glass.RegisterAfter(0))
	require.NoError(t, err)
	t.Cleanup(func() {
		waitFor(t, "its connections to be closed", func() bool { return g.Stats().Open == 0 })
		assert.Empty(t, g.Broken())
		assert.Empty(t, g.Lapses())
		require.NoError(t, g.Close())
	})
	return g
}

// rows returns the table of a doctor by the names of the checks: the results.
func rows(t *testing.T, stdout string) map[string]string {
	t.Helper()
	lines := strings.Split(stdout, "\n")
	require.Equal(t, []string{"CHECK", "RESULT", "TIME", "SEEN"}, strings.Fields(lines[0]))
	column := strings.Index(lines[0], "RESULT")
	results := make(map[string]string)
	for _, line := range lines[1:] {
		if line == "" {
			break
		}
		if name := strings.TrimSpace(line[:min(column, len(line))]); name != "" && column < len(line) { // else it goes on
			results[name] = strings.Fields(line[column:])[0]
		}
	}
	return results
}

func TestDoctor(t *testing.T) {
	g := gatewayDouble(t)
	endpoint := g.Endpoint()
	g.Store(maculadht.ServiceKey("greeter, polite"), wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText("me")}))
	g.Store(maculadht.TopicKey("sensor"), wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText("me")}))
	g.Store([]byte("k"), wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText("me")}))

	t.Run("healthy", func(t *testing.T) {
		got := macula(t, "doctor", endpoint, "--realm", glassRealm)
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Empty(t, got.stderr)
		require.Equal(t, map[string]string{
			"connection": "ok", "certificate": "ok", "PING": "ok", "NAT_PROBE": "ok", "_dht.list_gateways": "ok", "realm": "ok",
			"CALL of no procedure": "ok", "FIND_VALUE of its own key": "ok", "_dht.store": "skipped", "STORE": "skipped", "what comes back": "skipped",
		}, rows(t, got.stdout))
		require.Regexp(t, ` ok: `+endpoint+` serves the realm "be\.cortexiq\.test" and answers in [0-9.]+(µs|ms)$`, unwrapped(got.stdout))
		for line := range strings.Lines(got.stdout) {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 80, line)
		}
		require.Zero(t, g.Stats().Frames[wire.TypeStore])
	})
	t.Run("what it stores", func(t *testing.T) {
		got := macula(t, "doctor", endpoint, "k", "--service", "greeter, polite", "--topic", "sensor")
		require.Equal(t, exitOK, got.code, got.stderr)
		for _, name := range []string{"service greeter, polite", "topic sensor", "key k"} {
			require.Equal(t, "ok", rows(t, got.stdout)["FIND_VALUE "+name], got.stdout)
		}
	})
	t.Run("what it does not store", func(t *testing.T) {
		got := macula(t, "doctor", endpoint, "--service", "a", "--service", "b")
		require.Equal(t, exitNotFound, got.code)
		require.Equal(t, "macula-node: "+endpoint+" is not well: 2 checks failed\n", got.stderr)
		require.Contains(t, unwrapped(got.stdout), " FAIL: "+endpoint+" has nothing stored under service a: ")
		require.True(t, strings.HasSuffix(got.stdout, " (and 1 more)\n"), got.stdout)
	})
	t.Run("another realm", func(t *testing.T) {
		got := macula(t, "doctor", endpoint, "--realm", "other")
		require.Equal(t, exitNotFound, got.code)
		require.Equal(t, "FAIL", rows(t, got.stdout)["realm"])
		require.Contains(t, unwrapped(got.stdout), `serves the realm "be.cortexiq.test", not "other"`)
	})
	t.Run("written to", func(t *testing.T) {
		got := macula(t, "doctor", endpoint, "--write", "--json")
		require.Equal(t, exitOK, got.code, got.stderr)
		report := decodeJSON(t, got.stdout)
		require.Equal(t, true, report["ok"])
		require.Len(t, report["written_key"], 64)
		require.Equal(t, 1, g.Stats().Frames[wire.TypeStore])
	})
}

func TestDoctorJSON(t *testing.T) {
	g := gatewayDouble(t)
	g.Store([]byte(wire.GatewayPrefix+"other"), wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText("other")},
		wire.Pair{Key: "host", Value: wire.RawText("192.0.2.7")},
		wire.Pair{Key: "port", Value: wire.RawInt(9443)},
		wire.Pair{Key: "realm", Value: wire.RawText(glassRealm)}))
	got := macula(t, "doctor", g.Endpoint(), "--realm", "other", "--json")
	require.Equal(t, exitNotFound, got.code)
	report := blank(decodeJSON(t, got.stdout), "handshake_ms", "rtt_p50_ms", "rtt_p99_ms")
	checks, _ := report["checks"].([]any)
	require.Len(t, checks, 11)
	require.Equal(t, object{"check": "connection", "result": "ok", "seen": "connected to " + strings.TrimPrefix(g.Endpoint(), "https://"),
		"expected": "a QUIC connection, ALPN macula", "ms": anyNumber}, blank(checks[0].(object), "ms"))
	realm := checks[5].(object)
	advice, _ := realm["advice"].(string)
	require.Contains(t, advice, "not \"other\"")
	delete(realm, "advice")
	require.Equal(t, object{"check": "realm", "result": "FAIL", "seen": `"be.cortexiq.test", mismatch`, "expected": `"other"`}, realm)
	delete(report, "checks")
	require.Equal(t, object{
		"endpoint": g.Endpoint(), "ok": false, "verdict": "FAIL: " + g.Endpoint() + " " + advice, "reachable": true, "realm": glassRealm,
		"client_id": g.ClientID(), "node_id": hex.EncodeToString(g.NodeID()),
		"handshake_ms": anyNumber, "rtt_p50_ms": anyNumber, "rtt_p99_ms": anyNumber,
		"neighbours": []any{object{"node_id": hex.EncodeToString([]byte("other")), "host": "192.0.2.7", "port": 9443.0, "realm": glassRealm}},
	}, report)
}

// TestDoctorOfOurOwn: a macula-node is a gateway as well.
func TestDoctorOfOurOwn(t *testing.T) {
	_, s := started(t)
	got := macula(t, "doctor", s.Endpoints[0], "--realm", proto.DefaultRealm, "--write")
	require.Equal(t, exitOK, got.code, got.stdout)
	require.Contains(t, got.stdout, "itself, by its node id")
	require.Equal(t, "skipped", rows(t, got.stdout)["FIND_VALUE of its own key"])
	require.NotContains(t, got.stdout, "FAIL")
}

func TestDoctorUnreachable(t *testing.T) {
	endpoint := "https://127.0.0.1:" + silence(t)
	got := macula(t, "doctor", endpoint, "--timeout", "200ms")
	require.Equal(t, exitUnreachable, got.code)
	require.Equal(t, "macula-node: "+endpoint+" does not answer\n", got.stderr)
	require.Equal(t, "FAIL", rows(t, got.stdout)["connection"])
	require.Regexp(t, ` FAIL: `+endpoint+` can not be connected to \(no answer within [0-9]+ms\): check the address, .*$`, unwrapped(got.stdout))

	got = macula(t, "doctor", endpoint, "--timeout", "200ms", "--json")
	require.Equal(t, exitUnreachable, got.code)
	report := decodeJSON(t, got.stdout)
	require.Equal(t, false, report["reachable"])
	require.NotContains(t, report, "realm")
}

func TestDoctorInterrupted(t *testing.T) {
	g, err := glass.Start(glass.RegisterAfter(-1)) // which is waited for
	require.NoError(t, err)
	defer g.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout, stderr buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"macula-node", "doctor", g.Endpoint()}, &stdout, &stderr)
	}()
	waitFor(t, "the question for its entry", func() bool { return g.Stats().Frames[wire.TypeCall] > 0 })
	interrupt()
	require.Equal(t, exitUnreachable, <-ended)
	require.Equal(t, "macula-node: interrupted: not all was looked at\n", stderr.String())
	require.Equal(t, "skipped", rows(t, stdout.String())["CALL of no procedure"])
	require.Contains(t, unwrapped(stdout.String()), "when it was interrupted")
}

// TestDoctorOfACertificate: the pin in an endpoint and the TLS flags count here too.
func TestDoctorOfACertificate(t *testing.T) {
	g := gatewayDouble(t)
	leaf, err := x509.ParseCertificate(g.Certificate().Certificate[0])
	require.NoError(t, err)
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"its pin":                          {[]string{g.Endpoint() + "#" + identity.PinOf(leaf).String()}, exitOK, "ok: " + g.Endpoint()},
		"another pin":                      {[]string{g.Endpoint() + "#sha256=" + strings.Repeat("0f", 32)}, exitUnreachable, "is not who it should be: its certificate is not accepted: its key is " + identity.PinOf(leaf).String()},
		"production, and it is of no CA":   {[]string{"--tls-mode", "production", g.Endpoint()}, exitUnreachable, "is not who it should be"},
		"production, and its pin is known": {[]string{"--tls-mode", "production", g.Endpoint() + "#" + identity.PinOf(leaf).String()}, exitOK, "ok: " + g.Endpoint()},
	} {
		t.Run(name, func(t *testing.T) {
			got := macula(t, append([]string{"doctor"}, test.args...)...)
			require.Equal(t, test.code, got.code, got.stdout)
			require.Contains(t, unwrapped(got.stdout), test.says)
		})
	}
	require.Empty(t, g.Broken())
}

// TestDoctorOfANamedNode: one that was given a NODE_ID is told by where it is, also
// where it was dialled with a pin.
func TestDoctorOfANamedNode(t *testing.T) {
	g, err := glass.Start(glass.Realm(glassRealm), glass.RegisterAfter(-1))
	require.NoError(t, err)
	defer g.Close()
	g.Store([]byte(wire.GatewayPrefix+"my-node"), wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText("my-node")},
		wire.Pair{Key: "host", Value: wire.RawText("127.0.0.1")},
		wire.Pair{Key: "port", Value: wire.RawInt(int64(g.Addr().Port))},
		wire.Pair{Key: "realm", Value: wire.RawText(glassRealm)}))
	leaf, err := x509.ParseCertificate(g.Certificate().Certificate[0])
	require.NoError(t, err)
	for _, addr := range []string{g.Endpoint(), g.Endpoint() + "#" + identity.PinOf(leaf).String()} {
		got := macula(t, "doctor", addr)
		require.Equal(t, "ok", rows(t, got.stdout)["_dht.list_gateways"], got.stdout)
		require.Contains(t, got.stdout, "itself, by its address")
	}
}
