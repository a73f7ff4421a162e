package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
)

const (
	patience = 10 * time.Second // for anything on loopback, however busy the machine
	tick     = 10 * time.Millisecond

	// beMain makes the test binary the program itself.
	beMain = "TEST_IS_MACULA_NODE"
)

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main() // does not return
	}
	for _, name := range settings.Variables() {
		os.Unsetenv(name)
	}
	// What runs in parallel waits rather than computes; -parallel has its way. It reads no log
	// of a node in this process, which has one for all: the one that began last has it.
	flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}

// output is what a command printed, and its exit code.
type output struct {
	stdout, stderr string
	code           int
}

// macula runs the program in this process.
func macula(t *testing.T, args ...string) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, append([]string{"macula-node"}, args...), &stdout, &stderr)
	return output{stdout.String(), stderr.String(), code}
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a node that "run" serves in this process.
type running struct {
	stdout, stderr buffer
	stop           context.CancelFunc
	ended          chan int // its exit code
}

// start runs "run" on a free port of loopback, unless args say otherwise.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--listen") {
		args = append(args, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
	}
	if !strings.Contains(strings.Join(args, " "), "--data-dir") {
		args = append(args, "--data-dir", t.TempDir())
	}
	if !strings.Contains(strings.Join(args, " "), "--api") {
		args = append(args, "--api", "off")
	}
	r := &running{ended: make(chan int, 1)}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() {
		r.ended <- run(ctx, append([]string{"macula-node", "run"}, args...), &r.stdout, &r.stderr)
	}()
	t.Cleanup(func() {
		r.stop()
		select {
		case code := <-r.ended:
			require.Zero(t, code, r.stderr.String())
			r.ended <- code
		case <-time.After(patience):
			require.Fail(t, "the node does not stop")
		}
	})
	return r
}

// stopped stops the node and waits for its end.
func (r *running) stopped(t *testing.T) {
	t.Helper()
	r.stop()
	waitFor(t, "the end of the node", func() bool { return len(r.ended) > 0 })
}

// started is start with what --json says.
func started(t *testing.T, args ...string) (*running, serving) {
	t.Helper()
	r := start(t, append(args, "--json")...)
	var s serving
	waitFor(t, "the line of --json", func() bool { return strings.HasSuffix(r.stdout.String(), "\n") || len(r.ended) > 0 })
	require.NoError(t, json.Unmarshal([]byte(r.stdout.String()), &s), "stdout %q, stderr %q", r.stdout.String(), r.stderr.String())
	require.NotEmpty(t, s.Addrs)
	require.NotEmpty(t, s.Endpoints)
	return r, s
}

// waitFor polls until it is so.
func waitFor(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !isSo() {
		require.True(t, time.Now().Before(deadline), "waited in vain for %s", what)
		<-time.After(tick)
	}
}

// unwrapped is a text for a terminal in one line.
func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// decodeJSON reads the one line that a command prints with --json.
func decodeJSON(t *testing.T, text string) map[string]any {
	t.Helper()
	require.Equal(t, 1, strings.Count(text, "\n"), "one line: %q", text)
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

// silence returns a UDP port of loopback on which nobody answers.
func silence(t *testing.T) string {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { socket.Close() })
	_, port, err := net.SplitHostPort(socket.LocalAddr().String())
	require.NoError(t, err)
	return port
}
