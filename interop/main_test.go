package interop

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	patience = 10 * time.Second // for anything on loopback, however busy the machine
	tick     = 10 * time.Millisecond

	testRealm = "be.cortexiq.test" // the realm of the recordings
)

// aNodeID is the node id of a value that Erlang nodes are served: a bin of at least 32
// bytes, as a shorter one would crash them.
const aNodeID = bin("a-node-id-of-just-thirty-2-bytes")

// nodeIDNo is one of many of these.
func nodeIDNo(i int) bin { return bin(fmt.Sprintf("%032d", i)) }

// program is the path of the built macula-node.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "macula-interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "macula-node")
	build := exec.Command("go", "run", "-exec", "cp", "../cmd/macula-node", program) // which is cached when it is linked
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build macula-node:", err)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	flag.Set("test.parallel", "8") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// process is a running macula-node.
type process struct {
	PeerID    string   `json:"peer_id"`
	NodeID    string   `json:"node_id"`
	Realm     string   `json:"realm"`
	Addrs     []string `json:"addrs"`
	Endpoints []string `json:"endpoints"`

	logged *lockedBuffer
	pid    int
	up     time.Duration // how long it took to serve
	stop   func()        // in order, once; the end of the test does it else
	kill   func()        // at once and without a word, as kill -9 does
}

// udp returns where the process listens.
func (p *process) udp(tb testing.TB) *net.UDPAddr {
	tb.Helper()
	return udpOf(tb, p.Endpoints[0])
}

// udpOf returns the address of an endpoint.
func udpOf(tb testing.TB, endpoint string) *net.UDPAddr {
	tb.Helper()
	addr, err := net.ResolveUDPAddr("udp", strings.TrimPrefix(endpoint, "https://"))
	require.NoError(tb, err)
	return addr
}

// startProcess runs the program until the test ends, when it must stop in
// order.
func startProcess(tb testing.TB, flags ...string) *process {
	tb.Helper()
	return startProcessIn(tb, testRealm, flags...)
}

// startProcessIn is startProcess for any realm.
func startProcessIn(tb testing.TB, realm string, flags ...string) *process {
	tb.Helper()
	return startProcessOf(tb, tb.TempDir(), 0, append([]string{"--realm", realm}, flags...)...)
}

// startProcessOf runs the program with the data directory of one that ran before, and
// on a port, 0 for a free one.
func startProcessOf(tb testing.TB, dataDir string, port int, flags ...string) *process {
	tb.Helper()
	cmd := exec.Command(program, append([]string{"run", "--json", "--listen", fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", port),
		"--data-dir", dataDir}, flags...)...)
	cmd.Env = append(os.Environ(), "MACULA_HOSTNAME=")
	var logged lockedBuffer
	cmd.Stderr = &logged
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	begun := time.Now()
	require.NoError(tb, cmd.Start())
	ended := make(chan error, 1)
	lines := make(chan string, 1)
	go func() {
		scanner := bufio.NewScanner(out)
		if scanner.Scan() {
			lines <- scanner.Text()
		}
		for scanner.Scan() { // nothing else is expected, but the pipe must not fill
		}
		ended <- cmd.Wait()
	}()
	var over sync.Once
	stop := func() {
		over.Do(func() {
			cmd.Process.Signal(syscall.SIGTERM)
			select {
			case err := <-ended:
				require.NoError(tb, err, "exit of the program; it logged:\n%s", logged.String())
			case <-time.After(patience):
				cmd.Process.Kill()
				require.NoError(tb, errors.Join(errors.New("did not stop on SIGTERM"), <-ended))
			}
		})
	}
	kill := func() { over.Do(func() { cmd.Process.Kill(); <-ended }) }
	tb.Cleanup(stop)
	p := &process{logged: &logged, pid: cmd.Process.Pid, stop: stop, kill: kill}
	select {
	case line := <-lines:
		p.up = time.Since(begun)
		require.NoError(tb, json.Unmarshal([]byte(line), p), "the line of --json: %s", line)
	case <-time.After(patience):
		require.FailNow(tb, "the program does not serve", "it logged:\n%s", logged.String())
	}
	require.Len(tb, p.Endpoints, 1)
	require.Len(tb, p.Addrs, 1)
	return p
}

// lockedBuffer gathers what a process writes.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// cli runs a command of the program and returns what it printed and its exit
// code.
func cli(tb testing.TB, args ...string) (stdout string, code int) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), program, args...)
	var logged lockedBuffer
	cmd.Stderr = &logged
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	require.NoError(tb, err, "%s\n%s", strings.Join(args, " "), logged.String())
	return string(out), 0
}
