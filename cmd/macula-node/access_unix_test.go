//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// SIGHUP has the lists read again, be they broken, and ends nothing.
func TestListsAreReadAgain(t *testing.T) {
	t.Parallel()
	data, list := t.TempDir(), filepath.Join(t.TempDir(), "deny.txt")
	write := func(text string) { require.NoError(t, os.WriteFile(list, []byte(text), 0o600)) }
	write("# nobody yet\n")
	p := startProcess(t, data, "--deny", list, "--json", "--log-level", "info")
	waitFor(t, "the line of --json", func() bool { return strings.HasSuffix(p.stdout.String(), "\n") })
	endpoint := decodeJSON(t, p.stdout.String())["endpoints"].([]any)[0].(string)
	require.Equal(t, exitOK, macula(t, "ping", endpoint).code)

	logs := func(text string) func() bool {
		return func() bool { return strings.Contains(p.stderr.String(), text) }
	}
	write("192.0.2.0/24\n\n127.0.0.1 # the tester\nall of them\n")
	p.signal(t, syscall.SIGHUP)
	waitFor(t, "an error", logs(`deny.txt:4: \"all of them\" is neither a peer id nor an address range`))
	require.Contains(t, p.stderr.String(), "those of before stay in force")
	require.Equal(t, exitOK, macula(t, "ping", endpoint).code)

	write("192.0.2.0/24\n\n127.0.0.1 # the tester\n")
	p.signal(t, syscall.SIGHUP)
	waitFor(t, "the lists", logs("the lists of who may come were read again"))
	require.Equal(t, exitUnreachable, macula(t, "ping", endpoint, "--timeout", "2s").code)

	p.signal(t, syscall.SIGTERM)
	require.Equal(t, exitOK, p.endedWithin(t, 5*time.Second))
}

// A node that has no lists goes on at SIGHUP, too.
func TestHangUpEndsNoNode(t *testing.T) {
	p := startProcess(t, t.TempDir(), "--log-level", "info")
	waitFor(t, "the banner", func() bool { return strings.Contains(p.stdout.String(), "Ctrl-C stops it.") })
	p.signal(t, syscall.SIGHUP)
	waitFor(t, "word of it", func() bool { return strings.Contains(p.stderr.String(), "nothing to read again") })
	p.signal(t, os.Interrupt)
	require.Equal(t, exitOK, p.endedWithin(t, 5*time.Second))
}

func TestListsAndKeysAreRefused(t *testing.T) {
	list := filepath.Join(t.TempDir(), "allow.txt")
	require.NoError(t, os.WriteFile(list, []byte("gateway.example.org\n"), 0o600))
	for name, test := range map[string]struct{ args, want []string }{
		"a line that is no entry": {[]string{"--allow", list}, []string{"allow list: ", list + ":1: ", "write one entry a line", "192.0.2.0/24"}},
		"no such file":            {[]string{"--deny", list + ".none"}, []string{"deny list: ", "no such file"}},
		"a swarm key":             {[]string{"--swarm-key", "swarm.key"}, []string{"swarm key swarm.key", "QUIC", "--allow FILE", "--strict"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := macula(t, append([]string{"run", "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, test.args...)...)
			require.Equal(t, exitUsage, got.code)
			for _, want := range test.want {
				require.Contains(t, got.stderr, want)
			}
		})
	}
}
