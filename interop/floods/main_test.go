package floods

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/node"
)

var (
	long    = flag.Bool("floods.long", false, "attack the built program, with all that there is")
	program = flag.String("floods.program", "", "the program that is attacked in place of this source's")
)

const (
	patience = 10 * time.Second
	tick     = 20 * time.Millisecond
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // of ports on which packets are thrown away
	cleanup := func() {}
	if *long && *program == "" {
		dir, err := os.MkdirTemp("", "macula-floods")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		cleanup = func() { os.RemoveAll(dir) }
		*program = filepath.Join(dir, "macula-node")
		build := exec.Command("go", "build", "-o", *program, "../../cmd/macula-node")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build macula-node:", err)
			cleanup()
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { cleanup(); os.Exit(code) }))
}

// target is the node that is attacked.
type target struct {
	addr *net.UDPAddr
	peer peer.ID
	node *node.Node // nil for a process
	pid  int        // of a process
}

// startTarget starts what is attacked: a node with little room, or, in the long form, the
// program as it is.
func startTarget(t *testing.T, limits conns.Limits) *target {
	t.Helper()
	if *long {
		return startProgram(t)
	}
	n := startNode(t, limits)
	info, err := peer.AddrInfoFromP2pAddr(n.Addrs()[0])
	require.NoError(t, err)
	return &target{addr: udpOf(t, n.Addrs()[0]), peer: info.ID, node: n}
}

func startNode(t *testing.T, limits conns.Limits, bootstrap ...string) *node.Node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	n, err := node.New(node.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Conns: limits, Bootstrap: bootstrap})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

func udpOf(t *testing.T, addr ma.Multiaddr) *net.UDPAddr {
	t.Helper()
	port, err := addr.ValueForProtocol(ma.P_UDP)
	require.NoError(t, err)
	ip, err := addr.ValueForProtocol(ma.P_IP4)
	require.NoError(t, err)
	at, err := net.ResolveUDPAddr("udp4", net.JoinHostPort(ip, port))
	require.NoError(t, err)
	return at
}

func startProgram(t *testing.T) *target {
	t.Helper()
	cmd := exec.Command(*program, "run", "--json", "--api", "off", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--data-dir", t.TempDir(), "--log-level", "error")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	lines := make(chan string, 1)
	go func() {
		scanner := bufio.NewScanner(out)
		if scanner.Scan() {
			lines <- scanner.Text()
		}
		for scanner.Scan() { // the pipe must not fill
		}
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			require.NoError(t, err, "the program stops in order")
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
			require.Fail(t, "did not stop on SIGTERM")
		}
	})
	select {
	case line := <-lines:
		var told struct{ Addrs []string }
		require.NoError(t, json.Unmarshal([]byte(line), &told), line)
		addr, err := ma.NewMultiaddr(told.Addrs[0])
		require.NoError(t, err)
		info, err := peer.AddrInfoFromP2pAddr(addr)
		require.NoError(t, err)
		return &target{addr: udpOf(t, addr), peer: info.ID, pid: cmd.Process.Pid}
	case <-time.After(patience):
		require.FailNow(t, "the program does not serve")
		return nil
	}
}

// resident is the memory that the target has, in bytes; of one within the test what its
// connections cost by its own account.
func (to *target) resident(t *testing.T) int64 {
	t.Helper()
	if to.node != nil {
		s := to.node.Conns()
		return s.Memory + s.Buffered
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", to.pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	require.FailNow(t, "no VmRSS")
	return 0
}
