package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/interop/glass"
)

const provider = `{"node_id":"` + someID + `","ttl":60}`

func readRunning(t *testing.T, data string) datadir.Running {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "running.json"))
	require.NoError(t, err)
	var r datadir.Running
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

// TestRunningNode: what is asked without an address goes to the node of the data
// directory, whatever it listens on and whether it serves peers.
func TestRunningNode(t *testing.T) {
	for name, args := range map[string][]string{
		"on loopback":      nil,
		"on all addresses": {"--listen", "/ip4/0.0.0.0/udp/0/quic-v1", "--port-mapping=false"},
		"as a client":      {"--mode", "client"},
		"of a realm":       {"--realm", "org.example"},
	} {
		t.Run(name, func(t *testing.T) {
			_, other := started(t, "--realm", "org.example")
			data := t.TempDir()
			args := append(args, "--data-dir", data)
			if name == "of a realm" {
				args = append(args, "--bootstrap", other.Addrs[0])
			}
			node, s := started(t, args...)
			r := readRunning(t, data)
			require.Equal(t, s.PeerID, r.PeerID)
			require.Equal(t, os.Getpid(), r.PID)
			require.Regexp(t, `^/ip4/127\.0\.0\.1/udp/[0-9]+/quic-v1/p2p/`+s.PeerID+"$", r.Addrs[0])
			require.Regexp(t, `^https://127\.0\.0\.1:[0-9]+#sha256=[0-9a-f]{64}$`, r.Endpoint)

			got := macula(t, "put", "--data-dir", data, "--service", "greeter", provider)
			require.Equal(t, exitOK, got.code, got.stderr)
			got = macula(t, "get", "--data-dir", data, "--service", "greeter")
			require.Equal(t, exitOK, got.code, got.stderr)
			require.Equal(t, provider+"\n", got.stdout)
			got = macula(t, "get", s.Endpoints[0], "--service", "greeter")
			require.Equal(t, provider+"\n", got.stdout, "it was that node")

			got = macula(t, "put", "--replicate", "--data-dir", data, "k", provider)
			require.Equal(t, exitOK, got.code, got.stderr)
			got = macula(t, "lookup", "--data-dir", data, "k")
			require.Equal(t, exitOK, got.code, got.stderr)
			require.Contains(t, got.stdout, provider)

			node.stopped(t)
			require.NoFileExists(t, filepath.Join(data, "running.json"))
			for _, args := range [][]string{{"get", "k"}, {"put", "k", "{}"}, {"lookup", "k"}, {"put", "--replicate", "k", "{}"}} {
				got := macula(t, append(args, "--data-dir", data)...)
				require.Equal(t, exitUnreachable, got.code, "as where it was killed")
				require.Contains(t, got.stderr, "no macula-node runs there: "+data)
			}
		})
	}
}

// A node that answers nobody who has not CONNECTed answers its own user, in any mode.
func TestStrictRunningNode(t *testing.T) {
	for _, mode := range []string{"server", "client"} {
		t.Run(mode, func(t *testing.T) {
			data := t.TempDir()
			_, s := started(t, "--mode", mode, "--strict", "--realm", "org.example", "--data-dir", data)
			got := macula(t, "put", "--data-dir", data, "k", provider)
			require.Equal(t, exitOK, got.code, got.stderr)
			got = macula(t, "get", "--data-dir", data, "k")
			require.Equal(t, exitOK, got.code, got.stderr)
			require.Equal(t, provider+"\n", got.stdout)
			got = macula(t, "get", s.Endpoints[0], "k")
			require.Equal(t, exitUnreachable, got.code, got.stdout)
			require.Contains(t, got.stderr, s.Endpoints[0]+" is a strict node")

			got = macula(t, "status", "--data-dir", data)
			require.Equal(t, exitOK, got.code, got.stderr)
			require.Regexp(t, `(?m)^  refused +[1-9][0-9]* requests?, before a CONNECT$`, got.stdout)
			status := decodeJSON(t, macula(t, "status", "--data-dir", data, "--json").stdout)
			require.NotZero(t, status["refused"].(object)["connect_first"])
		})
	}
}

// The network of a client is entered where it was.
func TestLookupBesideAClient(t *testing.T) {
	_, server := started(t)
	require.Equal(t, exitOK, macula(t, "put", server.Addrs[0], "k", provider).code)
	data := t.TempDir()
	started(t, "--mode", "client", "--data-dir", data, "--bootstrap", server.Addrs[0])
	got := macula(t, "lookup", "--data-dir", data, "k")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, provider)
}

// A node that was killed has left its file behind.
func TestKilledNode(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no kill -9 there")
	}
	data := t.TempDir()
	var stdout, stderr buffer
	runs := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
		cmd.Env = append(os.Environ(), beMain+"=1")
		stdout, stderr = buffer{}, buffer{}
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill() })
		waitFor(t, "the banner", func() bool { return strings.Contains(stdout.String(), "Ctrl-C stops it.") })
		return cmd
	}
	cmd := runs()
	pid := strconv.Itoa(cmd.Process.Pid)

	second := macula(t, "run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
	require.Equal(t, exitUsage, second.code)
	require.Empty(t, second.stdout)
	require.Contains(t, second.stderr, "the data directory "+data+" is in use by the macula-node with the pid "+pid+", running since ")
	require.Equal(t, exitOK, macula(t, "put", "--data-dir", data, "k", provider).code, "the first does not notice")

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Equal(t, pid, strconv.Itoa(readRunning(t, data).PID))
	got := macula(t, "get", "--data-dir", data, "k")
	require.Equal(t, exitUnreachable, got.code)
	require.Contains(t, got.stderr, "no macula-node runs there any more: the macula-node with the pid "+pid)

	cmd = runs()
	require.Contains(t, stderr.String(), "was ended without a stop")
	require.Equal(t, cmd.Process.Pid, readRunning(t, data).PID)
	require.Equal(t, exitOK, macula(t, "get", "--data-dir", data, "k").code, "what it acknowledged is there")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

// A node that says where it is, and is not there, is told from one that does not run.
func TestNobodyAtTheRunningNodesPlace(t *testing.T) {
	data := t.TempDir()
	d, err := datadir.Use(data)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Publish(datadir.Running{PID: 1, PeerID: somePeer, Addrs: []string{"/ip4/127.0.0.1/udp/1/quic-v1/p2p/" + somePeer}, Socket: filepath.Join(data, "api.sock")}))
	got := macula(t, "get", "--data-dir", data, "k", "--json")
	require.Equal(t, exitUnreachable, got.code)
	require.Contains(t, got.stderr, "the node does not answer on its socket "+data)
	said := decodeJSON(t, got.stdout)
	require.Equal(t, 3.0, said["code"])
	require.Equal(t, strings.TrimSuffix(strings.TrimPrefix(got.stderr, "macula-node: "), "\n"), said["error"])
}

func TestDataDirOpenToOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its mode bits say nothing")
	}
	data := t.TempDir()
	require.Equal(t, exitOK, macula(t, "id", "--data-dir", data).code)
	require.NoError(t, os.Chmod(data, 0o777))
	require.NoError(t, os.Chmod(filepath.Join(data, "identity.key"), 0o440))
	r, _ := started(t, "--data-dir", data)
	require.Contains(t, r.stderr.String(), "chmod 700 "+data)
	require.Contains(t, r.stderr.String(), filepath.Join(data, "identity.key")+" is open to its group")
}

// A node says what of its settings leads nowhere.
func TestRunSaysWhatLeadsNowhere(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no signals there")
	}
	data := t.TempDir()
	first, s := process(t, "--data-dir", data)
	first.stopped(t)
	listen := strings.TrimSuffix(s.Addrs[0], "/p2p/"+s.PeerID)
	const alone, passedOver = "all bootstrap addresses are this node itself", "are this node itself are passed over"
	gone := "/ip4/127.0.0.1/udp/" + silence(t) + "/quic-v1/p2p/" + somePeer
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"its own multiaddr alone":    {[]string{"--bootstrap", s.Addrs[0]}, alone},
		"its own endpoint alone":     {[]string{"--bootstrap", s.Endpoints[0]}, alone},
		"both of its own":            {[]string{"--bootstrap", s.Addrs[0], "--bootstrap", s.Endpoints[0]}, alone},
		"its own beside another":     {[]string{"--bootstrap", s.Addrs[0], "--bootstrap", gone}, passedOver},
		"localhost for a hostname":   {[]string{"--hostname", "localhost"}, "nodes on other machines can not reach this one"},
		"127.0.0.1:1 for a hostname": {[]string{"--hostname", "127.0.0.1:1"}, "nodes on other machines can not reach this one"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := process(t, append(test.args, "--data-dir", data, "--listen", listen)...)
			p.logs(t, test.want)
			p.stopped(t)
			require.Equal(t, 1, strings.Count(p.stderr.String(), test.want), p.stderr.String())
		})
	}
}

// TestGatewaysOfAnotherRealm: it is the operator's mistake where all are, at the
// start; a node that serves is not ended by what a peer says.
func TestGatewaysOfAnotherRealm(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no signals there")
	}
	newGlass := func(t *testing.T, opts ...glass.Option) *glass.Gateway {
		g, err := glass.Start(append([]glass.Option{glass.RegisterAfter(0)}, opts...)...)
		require.NoError(t, err)
		t.Cleanup(func() { g.Close() })
		return g
	}
	t.Run("all of them", func(t *testing.T) {
		first, second := newGlass(t, glass.Realm("other")), newGlass(t, glass.Realm("another"))
		data := t.TempDir()
		got := macula(t, "run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--json",
			"--bootstrap", first.Endpoint(), "--bootstrap", second.Endpoint())
		require.Equal(t, exitUnreachable, got.code, got.stderr)
		require.Contains(t, got.stderr, "another realm")
		require.Equal(t, 3.0, decodeJSON(t, got.stdout)["code"])
		p, _ := process(t, "--data-dir", data, "--realm", "other", "--bootstrap", first.Endpoint()) // nothing binds it to the wrong one
		p.stopped(t)
	})
	t.Run("a peer, in the same words", func(t *testing.T) {
		_, other := process(t, "--realm", "other")
		for _, addr := range []string{other.Addrs[0], other.Endpoints[0], newGlass(t, glass.Realm("other")).Endpoint()} {
			got := macula(t, "run", "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--json", "--bootstrap", addr)
			require.Equal(t, exitUnreachable, got.code, got.stderr)
			said := decodeJSON(t, got.stdout)
			require.Equal(t, 3.0, said["code"])
			for _, text := range []string{"refused: it serves another realm: " + addr, `"other"`, `"macula.default"`, "name one of this realm, or give this node that realm"} {
				require.Contains(t, said["error"], text)
			}
		}
	})
	t.Run("one of two", func(t *testing.T) {
		p, _ := process(t, "--bootstrap", newGlass(t).Endpoint(), "--bootstrap", newGlass(t, glass.Realm("other")).Endpoint())
		p.logs(t, "another realm")
		require.Empty(t, p.ended)
	})
	t.Run("as a stranger says", func(t *testing.T) {
		g := newGlass(t, glass.RegisterAfter(-1))
		g.Store([]byte("peer.gateway.x"), wire.RawMap(
			wire.Pair{Key: "node_id", Value: wire.RawText("x")},
			wire.Pair{Key: "host", Value: wire.RawText(g.Addr().IP.String())},
			wire.Pair{Key: "port", Value: wire.RawInt(int64(g.Addr().Port))},
			wire.Pair{Key: "realm", Value: wire.RawText("other")},
		))
		p, _ := process(t, "--bootstrap", g.Endpoint())
		p.logs(t, "gateway not joined")
		require.Never(t, func() bool { return len(p.ended) > 0 }, time.Second/2, tick)
	})
	t.Run("one that comes up later", func(t *testing.T) {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := udp.LocalAddr().String()
		require.NoError(t, udp.Close())
		p, _ := process(t, "--bootstrap", "https://"+addr)
		newGlass(t, glass.Realm("other"), glass.Listen(addr))
		p.logs(t, "another realm")
		require.Never(t, func() bool { return len(p.ended) > 0 }, time.Second/2, tick)
	})
}
