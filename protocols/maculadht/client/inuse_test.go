package client

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// Whoever is being asked something is spared by the connection manager until then.
func TestPeerInUseIsProtected(t *testing.T) {
	manager, err := connmgr.NewConnManager(1, 2)
	require.NoError(t, err)
	srv, h := dhttest.Host(t), dhttest.Host(t, libp2p.ConnectionManager(manager))
	answer := make(chan struct{})
	asked := dhttest.Script(t, srv, func(_ int, s *dhttest.Scripted) { <-answer; s.Answer() })
	c := newClient(t, h)
	done := make(chan error, 1)
	go func() {
		_, err := Ping(dhttest.Context(t), c, dhttest.Contact(srv))
		done <- err
	}()
	require.Eventually(t, func() bool { return asked.Load() == 1 }, dhttest.Patience, time.Millisecond)
	require.True(t, manager.IsProtected(srv.ID(), ""))
	close(answer)
	require.NoError(t, <-done)
	require.False(t, manager.IsProtected(srv.ID(), ""))
}
