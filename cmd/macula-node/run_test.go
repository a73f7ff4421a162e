package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stopsWithin is how long a node may take to stop.
const stopsWithin = 5 * time.Second

func TestBanner(t *testing.T) {
	data := t.TempDir()
	id := decodeJSON(t, macula(t, "id", "--json", "--data-dir", data).stdout)
	r := start(t, "--data-dir", data, "--realm", "org.example")
	waitFor(t, "the banner", func() bool { return strings.Contains(r.stdout.String(), "Ctrl-C stops it.") })
	banner := r.stdout.String()
	for _, want := range []string{
		`^macula-node serves the realm org\.example\n`,
		`\n  peer id +` + id["peer_id"].(string) + `\n`,
		`\n  node id +` + id["node_id"].(string) + `\n`,
		`\n  mode +auto\n`,
		`\n  libp2p +/ip4/127\.0\.0\.1/udp/[0-9]+/quic-v1/p2p/` + id["peer_id"].(string) + `\n`,
		`\n  Erlang +https://127\.0\.0\.1:[0-9]+\n`,
		`\nTry, in another terminal:\n\n  .* put https://127\.0\.0\.1:[0-9]+ --service greeter '\{.*\}'\n`,
	} {
		assert.Regexp(t, regexp.MustCompile(want), banner)
	}

	// The command works as it stands there.
	line := regexp.MustCompile(`put (https://\S+) --service greeter '(.*)'`).FindStringSubmatch(banner)
	require.NotNil(t, line)
	got := macula(t, "put", line[1], "--service", "greeter", line[2])
	assert.Equal(t, exitOK, got.code, got.stderr)

	r.stop()
	begun := time.Now()
	select {
	case code := <-r.ended:
		r.ended <- code
		assert.Equal(t, exitOK, code)
		assert.Less(t, time.Since(begun), stopsWithin)
	case <-time.After(patience):
		require.Fail(t, "does not stop")
	}
	assert.Contains(t, r.stdout.String(), "Stopping.")
}

func TestJSONLine(t *testing.T) {
	r, s := started(t, "--realm", "org.example")
	got := decodeJSON(t, r.stdout.String())
	assert.Equal(t, object{
		"peer_id": s.PeerID, "node_id": s.NodeID, "realm": "org.example", "mode": "auto",
		"addrs": []any{s.Addrs[0]}, "endpoints": []any{s.Endpoints[0]},
	}, got)
	assert.Regexp(t, "^[0-9a-f]{64}$", s.NodeID)
	assert.Regexp(t, `^/ip4/127\.0\.0\.1/udp/[0-9]+/quic-v1/p2p/`+s.PeerID+"$", s.Addrs[0])
	assert.Regexp(t, `^https://127\.0\.0\.1:[0-9]+$`, s.Endpoints[0])
}

// TestSettingsFromEnvironment: a flag goes before its variable.
func TestSettingsFromEnvironment(t *testing.T) {
	data := t.TempDir()
	t.Setenv("MACULA_REALM", "org.env")
	t.Setenv("MACULA_HOSTNAME", "node.example.org")
	t.Setenv("MACULA_DATA_DIR", data)
	id := decodeJSON(t, macula(t, "id", "--json").stdout)
	require.FileExists(t, filepath.Join(data, "identity.key"))

	_, s := started(t, "--data-dir", data)
	assert.Equal(t, "org.env", s.Realm)
	assert.Equal(t, id["peer_id"], s.PeerID)
	require.Len(t, s.Endpoints, 2, "the name comes first, then where it listens")
	assert.Regexp(t, `^https://node\.example\.org:[0-9]+$`, s.Endpoints[0])
	assert.Regexp(t, `^https://127\.0\.0\.1:[0-9]+$`, s.Endpoints[1])

	_, s = started(t, "--realm", "org.flag", "--hostname", "192.0.2.7:9443")
	assert.Equal(t, "org.flag", s.Realm)
	assert.Equal(t, "https://192.0.2.7:9443", s.Endpoints[0])

	t.Setenv("MACULA_REALM", "")
	t.Setenv("MACULA_HOSTNAME", "")
	_, s = started(t)
	assert.Equal(t, "macula.default", s.Realm, "set to nothing is not set")
	assert.Len(t, s.Endpoints, 1)
}

// TestIdentity: it is made once, for its owner alone, and stays.
func TestIdentity(t *testing.T) {
	data := filepath.Join(t.TempDir(), "made", "here")
	first := macula(t, "id", "--data-dir", data)
	require.Equal(t, exitOK, first.code, first.stderr)
	assert.Regexp(t, `^peer id +12D3KooW\w+\nnode id +[0-9a-f]{64}\n$`, first.stdout)
	assert.Equal(t, first, macula(t, "id", "--data-dir", data))

	got := decodeJSON(t, macula(t, "id", "--data-dir", data, "--json").stdout)
	require.Len(t, got, 2)
	assert.Contains(t, first.stdout, got["peer_id"])
	assert.Contains(t, first.stdout, got["node_id"])

	for range 2 {
		r, s := started(t, "--data-dir", data)
		assert.Equal(t, got["peer_id"], s.PeerID)
		assert.Equal(t, got["node_id"], s.NodeID)
		r.stopped(t)
	}
	if runtime.GOOS == "windows" {
		return // its mode bits say nothing
	}
	key := filepath.Join(data, "identity.key")
	info, err := os.Stat(key)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoError(t, os.Chmod(key, 0o644))
	for _, command := range []string{"id", "run"} {
		open := macula(t, command, "--data-dir", data)
		assert.Equal(t, exitUsage, open.code)
		assert.Contains(t, open.stderr, "chmod 600 "+key)
	}
}

func TestPortInUse(t *testing.T) {
	_, s := started(t)
	listen := fmt.Sprintf("/ip4/127.0.0.1/udp/%.0f/quic-v1", portOf(s.Endpoints[0]))
	got := macula(t, "run", "--data-dir", t.TempDir(), "--listen", listen)
	assert.Equal(t, exitUsage, got.code)
	assert.Empty(t, got.stdout)
	assert.Contains(t, got.stderr, listen)
	assert.Contains(t, got.stderr, "is another program using the UDP port?")
	assert.Equal(t, exitOK, macula(t, "ping", s.Addrs[0]).code, "the first one does not notice")
}

// TestSignals: the program as a process ends in order, with its peers told.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals there")
	}
	for name, signal := range map[string]os.Signal{"SIGINT": os.Interrupt, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "run", "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
			cmd.Env = append(os.Environ(), beMain+"=1")
			var stdout, stderr buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			require.NoError(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			defer cmd.Process.Kill()
			waitFor(t, "the banner", func() bool { return strings.Contains(stdout.String(), "Ctrl-C stops it.") })
			endpoint := regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`).FindString(stdout.String())
			guest(t, endpoint, "an Erlang node that stays connected", "")

			begun := time.Now()
			require.NoError(t, cmd.Process.Signal(signal))
			select {
			case err := <-ended:
				assert.NoError(t, err, "exit code 0; stderr %s", stderr.String())
				assert.Less(t, time.Since(begun), stopsWithin)
			case <-time.After(patience):
				require.Fail(t, "does not stop")
			}
			assert.Contains(t, stdout.String(), "Stopping.")
			assert.Contains(t, stderr.String(), "leaving the network", "the log tells it")
		})
	}
}
