package node

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
)

// turnstile lets in who comes while it is open, and notes who came.
type turnstile struct {
	mu     sync.Mutex
	closed bool
	came   []netip.AddrPort
}

func (g *turnstile) InterceptPeerDial(peer.ID) bool               { return true }
func (g *turnstile) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }
func (g *turnstile) InterceptAccept(of network.ConnMultiaddrs) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, _ := quicaddr.AddrPort(of.RemoteMultiaddr())
	g.came = append(g.came, at)
	return !g.closed && of.LocalMultiaddr() != nil
}
func (g *turnstile) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}
func (g *turnstile) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// Connections of Erlang nodes pass the host's gater, as those of libp2p peers do.
func TestGaterOfErlangNodes(t *testing.T) {
	gate := &turnstile{}
	n := startNode(t, func(c *Config) { c.HostOptions = []libp2p.Option{libp2p.ConnectionGater(gate)} })
	dial := func() *quic.Conn {
		conn, err := quic.DialAddr(patient(t), strings.TrimPrefix(n.Endpoint(), "https://"),
			&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"macula"}}, nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
		return conn
	}
	let := dial()
	require.Eventually(t, func() bool { return n.Conns().Conns == 1 }, patience, tick)
	gate.mu.Lock()
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:" + port4(let))}, gate.came)
	gate.closed = true
	gate.mu.Unlock()

	_, err := dial().AcceptStream(patient(t))
	var closed *quic.ApplicationError
	require.ErrorAs(t, err, &closed)
	require.True(t, closed.Remote)
	require.EqualValues(t, network.ConnGated, closed.ErrorCode)
	require.Equal(t, 1, n.Conns().Conns, "who was let in stays")
	require.NoError(t, let.Context().Err())
}

// port4 is the port from which a connection was made.
func port4(conn *quic.Conn) string {
	at := conn.LocalAddr().String()
	return at[strings.LastIndex(at, ":")+1:]
}
