package faults

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/interop/lossynet"
	"github.com/macula-mesh/macula-node/interop/program"
	"github.com/macula-mesh/macula-node/interop/raw"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// What the network has: nodes of two sides, and on each side a host of clients.
const (
	west, east = 0, 1

	nodes   = 5
	prefix  = 16                 // of the network, 10.77.0.0
	realm   = proto.DefaultRealm // which commands enter
	tryTime = 10 * time.Second   // for one question
)

// sideOf returns the side of a node, and sides are how they are printed.
func sideOf(node int) int {
	if node < 2 {
		return west
	}
	return east
}

var sides = [...]string{west: "west", east: "east"}

// world is the network and the processes on it.
type world struct {
	*lossynet.Switch

	t       *testing.T
	path    string // of the program
	nodes   [nodes]*node
	clients [2]*clients
}

// node is a process on a host of its own.
type node struct {
	*program.Process

	name string
	host *lossynet.Host
	side int
	udp  netip.AddrPort
}

// clients are those of one side: Erlang clients over one port, and commands.
type clients struct {
	host *lossynet.Host
	raw  *raw.Client
	side int

	mu    sync.Mutex
	conns map[*node]*raw.Conn
}

// newWorld starts all, or skips the test where that is not permitted.
func newWorld(t *testing.T, seed uint64, c lossynet.Conditions) *world {
	t.Helper()
	w := &world{Switch: lossynet.New(seed), t: t}
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	require.NoError(t, w.Set(c))
	for side := range w.clients {
		h := w.host(11+side, 1)
		port, err := h.ListenUDP(0)
		require.NoError(t, err)
		w.clients[side] = &clients{host: h, raw: raw.New(port), side: side, conns: make(map[*node]*raw.Conn)}
		t.Cleanup(func() { require.NoError(t, w.clients[side].raw.Close()) })
	}
	var hosts [nodes]*lossynet.Host
	for i := range hosts {
		hosts[i] = w.host(1+i, 1)
	}
	var err error
	w.path, err = program.Build(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(w.stop)
	w.nodes[0] = w.start(0, hosts[0])
	require.NotNil(t, w.nodes[0])
	var starting sync.WaitGroup
	for i := 1; i < nodes; i++ {
		starting.Go(func() { w.nodes[i] = w.start(i, hosts[i], "--bootstrap", w.nodes[0].Addrs[0]) })
	}
	starting.Wait()
	for i, n := range w.nodes {
		require.NotNil(t, n, "node %d", i)
	}
	return w
}

// host makes a host of the network.
func (w *world) host(net, number int) *lossynet.Host {
	w.t.Helper()
	addr := netip.AddrFrom4([4]byte{10, 77, byte(net), byte(number)})
	h, err := lossynet.NewHost(w.Switch, netip.PrefixFrom(addr, prefix))
	if errors.Is(err, lossynet.ErrNotPermitted) {
		w.t.Skip(err)
	}
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, h.Close()) })
	return h
}

// start starts a node; nil, and an error of the test, where that fails.
func (w *world) start(i int, h *lossynet.Host, flags ...string) *node {
	n := &node{name: fmt.Sprintf("node %d (%s)", i, sides[sideOf(i)]), host: h, side: sideOf(i)}
	mode := "server"
	if i == nodes-1 { // of which nobody asks but its own clients
		mode = "client"
		n.name += ", a client of libp2p"
	}
	var err error
	n.Process, err = program.Run(w.path, h.Start, append([]string{
		"--listen", fmt.Sprintf("/ip4/%v/udp/9443/quic-v1", h.Addr), "--data-dir", w.t.TempDir(),
		"--realm", realm, "--mode", mode, "--port-mapping=false", "--log-level", "error",
	}, flags...)...)
	if err == nil {
		n.udp, err = n.UDP()
	}
	if err != nil {
		w.t.Errorf("%s: %v", n.name, err)
		return nil
	}
	return n
}

// stop has all stop in order, at once.
func (w *world) stop() {
	if err := w.Set(lossynet.Conditions{}); err != nil { // no word to a peer has to be sent again
		w.t.Error(err)
	}
	var stopping sync.WaitGroup
	for _, n := range w.nodes {
		if n != nil {
			stopping.Go(func() {
				if err := n.Stop(); err != nil {
					w.t.Errorf("%s: %v", n.name, err)
				}
			})
		}
	}
	stopping.Wait()
}

// part parts the two sides.
func (w *world) part() {
	var of []netip.Addr
	for _, n := range w.nodes {
		if n.side == west {
			of = append(of, n.host.Addr)
		}
	}
	w.Part(append(of, w.clients[west].host.Addr)...)
}

// conn returns a connection to a node of the clients' own side, a new one where the last
// has ended.
func (c *clients) conn(ctx context.Context, to *node) (*raw.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.conns[to]; conn != nil && !conn.Ended() {
		return conn, nil
	}
	conn, err := c.raw.Dial(ctx, to.udp)
	if err != nil {
		return nil, err
	}
	c.conns[to] = conn
	return conn, nil
}

// command runs a command of the program on the clients' host, and returns what it printed.
func (w *world) command(ctx context.Context, c *clients, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.path, append(slices.Clone(args), "--data-dir", w.t.TempDir())...)
	var out, logged output
	cmd.Stdout, cmd.Stderr = &out, &logged
	err := c.host.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", args[0], err, out, logged)
	}
	return string(out), nil
}

// output is what a command prints.
type output []byte

func (o *output) Write(b []byte) (int, error) {
	*o = append(*o, b...)
	return len(b), nil
}
