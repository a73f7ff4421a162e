// Package hosttest is for tests of what is served on a host's ports.
package hosttest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
)

// Patience is for anything on loopback.
const Patience = 5 * time.Second

// Close closes c, which has as long as an operator who stops a node is asked to wait.
func Close(t *testing.T, c io.Closer) {
	t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(Patience):
		require.FailNow(t, "not closed in time")
	}
}

// KadProtocols returns the protocols of kad-dht that a host answers.
func KadProtocols(h host.Host) []protocol.ID {
	var found []protocol.ID
	for _, id := range h.Mux().Protocols() {
		if strings.Contains(string(id), "/kad/") {
			found = append(found, id)
		}
	}
	return found
}

// ServerTLS shows a certificate of its own.
func ServerTLS(t *testing.T) *tls.Config {
	t.Helper()
	certificate, err := gateway.SelfSign(nil)
	require.NoError(t, err)
	return gateway.ServerTLS(certificate)
}

// DialALPN connects by plain QUIC to host:port, from a port of its own. It verifies
// nothing, like an Erlang node.
func DialALPN(t *testing.T, endpoint, alpn string) (*quic.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	return quic.DialAddr(ctx, endpoint, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}, nil)
}

// DialMacula is DialALPN as an Erlang node does it.
func DialMacula(t *testing.T, endpoint string) *quic.Conn {
	t.Helper()
	conn, err := DialALPN(t, endpoint, dialer.ALPN)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn
}

// RequireIPv6 skips a test on a machine without IPv6.
func RequireIPv6(t *testing.T) {
	t.Helper()
	probe, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	require.NoError(t, probe.Close())
}
