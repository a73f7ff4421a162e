package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInterrupted: Ctrl-C ends a command that waits for an answer.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"https://127.0.0.1:%s", "/ip4/127.0.0.1/udp/%s/quic-v1/p2p/" + somePeer} {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		defer socket.Close()
		_, port, _ := net.SplitHostPort(socket.LocalAddr().String())
		addr := fmt.Sprintf(form, port)

		ctx, interrupt := context.WithCancel(t.Context())
		var stdout, stderr buffer
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, []string{"macula-node", "ping", "--timeout", "1m", addr}, &stdout, &stderr)
		}()
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(patience)))
		_, _, err = socket.ReadFrom(make([]byte, 2048))
		require.NoError(t, err, "it asks")
		interrupt()
		select {
		case code := <-ended:
			assert.Equal(t, exitUnreachable, code)
		case <-time.After(patience):
			require.Fail(t, "is not interrupted")
		}
		assert.Regexp(t, "^macula-node: interrupted after .*: "+regexp.QuoteMeta(addr)+" had not answered yet\n$", stderr.String())
	}
}

// TestForgottenConnection: a node that does not know our connection any more,
// because it gave up a handshake whose end took too long, or was restarted, says
// so by a stateless reset. Then it is asked once more over a new connection.
func TestForgottenConnection(t *testing.T) {
	data, copied := t.TempDir(), t.TempDir()
	_, node := started(t, "--data-dir", data)
	key, err := os.ReadFile(filepath.Join(data, "identity.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(copied, "identity.key"), key, 0o600))
	_, twin := started(t, "--data-dir", copied) // resets in its name, as the identity is the same
	for _, args := range [][]string{{"ping"}, {"gateways"}, {"put", "k", "{}"}, {"get", "k"}, {"find-node", "k"}} {
		t.Run(args[0], func(t *testing.T) {
			m := startMisdirection(t, node.Endpoints[0], twin.Endpoints[0])
			addr := fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", m.port(), node.PeerID)
			got := macula(t, append([]string{args[0], addr}, args[1:]...)...)
			assert.Equal(t, exitOK, got.code, got.stderr)
			assert.True(t, m.reset.Load(), "there was no stateless reset")
		})
	}
}

// misdirection stands between a client and a node. All but the handshake it
// hands to the node's twin, until that has answered once, which can only be by a
// stateless reset. What follows goes to the node.
type misdirection struct {
	front *net.UDPConn // where the client sends
	reset atomic.Bool
}

func (m *misdirection) port() int { return m.front.LocalAddr().(*net.UDPAddr).Port }

func startMisdirection(t *testing.T, node, twin string) *misdirection {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	m := &misdirection{front: front}
	toNode, toTwin := dialUDP(t, node), dialUDP(t, twin)
	var client atomic.Pointer[net.UDPAddr]
	back := func(from *net.UDPConn, each func()) {
		b := make([]byte, 2048)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			each()
			if to := client.Load(); to != nil {
				front.WriteToUDP(b[:n], to)
			}
		}
	}
	done := make(chan struct{}, 3)
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 2048)
		for {
			n, from, err := front.ReadFromUDP(b)
			if err != nil {
				return
			}
			client.Store(from)
			if handshake := b[0]&0x80 != 0; handshake || m.reset.Load() {
				toNode.Write(b[:n])
			} else {
				toTwin.Write(b[:n])
			}
		}
	}()
	go func() { defer func() { done <- struct{}{} }(); back(toNode, func() {}) }()
	go func() { defer func() { done <- struct{}{} }(); back(toTwin, func() { m.reset.Store(true) }) }()
	t.Cleanup(func() {
		front.Close()
		toNode.Close()
		toTwin.Close()
		for range cap(done) {
			<-done
		}
	})
	return m
}

func dialUDP(t *testing.T, endpoint string) *net.UDPConn {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp4", strings.TrimPrefix(endpoint, "https://"))
	require.NoError(t, err)
	conn, err := net.DialUDP("udp4", nil, to)
	require.NoError(t, err)
	return conn
}
