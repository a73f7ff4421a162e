package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// conn is a connection of which it is counted how often it is looked at.
type conn struct {
	network.Conn
	peer   peer.ID
	opened time.Time
	looked *int
}

func (c *conn) RemotePeer() peer.ID { return c.peer }
func (c *conn) ID() string          { return fmt.Sprintf("%p", c) }

func (c *conn) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Opened: c.opened}}
}

func (c *conn) IsClosed() bool {
	*c.looked++
	return false
}

// A CONNECT costs the same, however many peers there are.
func TestRenewLooksAtItsOwnPeer(t *testing.T) {
	c, looked := newClient(t, dhttest.Host(t)), 0
	var last *conn
	for i := range 100 {
		last = &conn{peer: peer.ID(fmt.Sprint(i)), looked: &looked}
		c.Renew(last)
	}
	looked = 0
	c.Renew(last)
	require.Zero(t, looked, "it is the newest already")
	c.Renew(&conn{peer: last.peer, looked: &looked})
	require.LessOrEqual(t, looked, 2)
}

// Where both have dialled each other at once the older connection is no news.
func TestRenewKeepsTheNewest(t *testing.T) {
	c, looked := newClient(t, dhttest.Host(t)), 0
	older := &conn{peer: "p", opened: time.Now(), looked: &looked}
	newer := &conn{peer: "p", opened: older.opened.Add(time.Second), looked: &looked}
	c.Renew(newer)
	c.Renew(older)
	require.Same(t, newer, c.newest["p"])
}

// What was kept of a connection ends with it.
func TestRenewForgetsConnectionsThatEnded(t *testing.T) {
	a, b := dhttest.Host(t), dhttest.Host(t)
	serve(t, b)
	c := newClient(t, a)
	a.Network().Notify(&network.NotifyBundle{DisconnectedF: func(_ network.Network, conn network.Conn) { c.Ended(conn) }})
	dhttest.Connect(t, a, b)
	c.Renew(a.Network().ConnsToPeer(b.ID())[0])
	_, err := c.Query(t.Context(), dhttest.Contact(b), &wire.Ping{})
	require.NoError(t, err)
	known := func() int {
		c.mu.RLock()
		defer c.mu.RUnlock()
		return len(c.newest)
	}
	require.Equal(t, 1, known())
	over := a.Network().ConnsToPeer(b.ID())[0]
	require.NoError(t, a.Network().ClosePeer(b.ID()))
	require.Eventually(t, func() bool { return known() == 0 }, dhttest.Patience, time.Millisecond)
	c.Renew(over)
	require.Zero(t, known(), "it has ended before")
}
