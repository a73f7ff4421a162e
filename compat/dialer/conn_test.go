package dialer

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// A Conn tells of the connection that the next question uses.
func TestAcquire(t *testing.T) {
	g, err := glass.Start()
	require.NoError(t, err)
	defer g.Close()
	d := newDialer(t)
	c, err := d.Acquire(compattest.Context(t), mustParse(t, g.Endpoint()).Endpoint)
	require.NoError(t, err)
	id, err := ClientID(c.Certificate())
	require.NoError(t, err)
	require.Equal(t, g.ClientID(), id)
	require.Equal(t, id, c.ClientID())
	require.Equal(t, g.Addr().String(), c.RemoteAddr().String())
	require.True(t, c.Current())

	again, err := d.Acquire(compattest.Context(t), mustParse(t, g.Endpoint()).Endpoint)
	require.NoError(t, err)
	require.Same(t, c.conn, again.conn)
	again.Release()
	again.Release() // which is not that of c
	_, err = client.Ping(compattest.Context(t), d, compattest.At(g.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, 1, g.Stats().Accepted)
	require.Len(t, g.Clients(), 1)
	_, port, err := net.SplitHostPort(g.Clients()[0].String())
	require.NoError(t, err)
	require.Equal(t, port, strconv.Itoa(int(c.LocalPort())))

	c.Release()
	compattest.RequireCloses(t, d.Close)
	compattest.Eventually(t, func() bool { return g.Stats().Open == 0 }, "closed")
	require.False(t, c.Current())
	require.Error(t, c.Context().Err())
	_, err = d.Acquire(compattest.Context(t), mustParse(t, g.Endpoint()).Endpoint)
	require.ErrorIs(t, err, proto.ErrClosed)
	require.Empty(t, g.Broken())
	require.Empty(t, g.Lapses())
}

// An endpoint that is left alone is not connected to either.
func TestAcquireInBackoff(t *testing.T) {
	g, err := glass.Start()
	require.NoError(t, err)
	defer g.Close()
	letGo := g.HoldReplies(wire.TypePing)
	d := newDialer(t, within(compattest.Patience, 50*time.Millisecond))
	_, err = client.Ping(compattest.Context(t), d, compattest.At(g.Endpoint()))
	require.ErrorIs(t, err, ErrNoReply)
	require.ErrorIs(t, err, proto.ErrUnreachable)
	_, err = d.Acquire(compattest.Context(t), mustParse(t, g.Endpoint()).Endpoint)
	require.ErrorIs(t, err, ErrBackoff)
	require.Equal(t, 1, g.Stats().Accepted)
	letGo()
}

// What is held is not idle, and what is released is.
func TestHeldConnIsNotIdle(t *testing.T) {
	e, idle := compattest.StartErlang(t, "127.0.0.1:0"), compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t, idleFor(soon))
	c, err := d.Acquire(compattest.Context(t), mustParse(t, e.Endpoint()).Endpoint)
	require.NoError(t, err)
	other, err := d.Acquire(compattest.Context(t), mustParse(t, idle.Endpoint()).Endpoint)
	require.NoError(t, err)
	compattest.Eventually(t, func() bool { return e.Stats().Open == 1 && idle.Stats().Open == 1 }, "both are accepted")
	other.Release()
	compattest.Eventually(t, func() bool { return idle.Stats().Open == 0 }, "the other is closed")
	require.Equal(t, 1, e.Stats().Open)
	c.Release()
	compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "closed when it idles at last")
	e.RequireSpared()
}
