package interop

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/interop/program"
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

// binary is the path of the built macula-node.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "macula-interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if binary, err = program.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	flag.Set("test.parallel", "16") // what runs in parallel waits, be it for its turn to compute; -parallel has its way
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// process is a running macula-node.
type process struct {
	*program.Process

	tb testing.TB
	up time.Duration // how long it took to serve
}

// stop has it stop in order, once; the end of the test does it else.
func (p *process) stop() {
	p.tb.Helper()
	require.NoError(p.tb, p.Stop())
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
	begun := time.Now()
	run, err := program.Run(binary, nil, append([]string{"--listen", fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", port), "--data-dir", dataDir}, flags...)...)
	require.NoError(tb, err)
	p := &process{Process: run, tb: tb, up: time.Since(begun)}
	tb.Cleanup(p.stop)
	require.Len(tb, p.Endpoints, 1)
	require.Len(tb, p.Addrs, 1)
	return p
}

// cli runs a command of the program and returns what it printed and its exit
// code.
func cli(tb testing.TB, args ...string) (stdout string, code int) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), binary, args...)
	var logged bytes.Buffer
	cmd.Stderr = &logged
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	require.NoError(tb, err, "%s\n%s", strings.Join(args, " "), logged.String())
	return string(out), 0
}
