package dialer

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
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
	id, err := identity.ClientID(c.Certificate())
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

// A session is made though the endpoint is left alone, and what it asks is answered;
// then the others ask too. Who leaves them without an answer again is left alone
// all the same.
func TestAcquireInBackoff(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t, within(compattest.Patience, 10*soon), backoff(never))
	find := func() error {
		_, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
		return err
	}
	letGo := e.HoldReplies(wire.TypeFindValue)
	require.ErrorIs(t, find(), ErrNoReply)
	require.ErrorIs(t, find(), ErrBackoff)
	require.True(t, d.BackoffEnd(mustParse(t, e.Endpoint()).Endpoint).After(time.Now()))

	c := hold(t, d, e)
	require.ErrorIs(t, find(), ErrBackoff, "a handshake works also while it is busy")
	require.NoError(t, c.Ping(compattest.Context(t)))
	require.ErrorIs(t, find(), ErrBackoff, "it still has the question")
	letGo()
	compattest.Eventually(t, func() bool { return e.Stats().Streams == 0 }, "it has answered at last")
	require.NoError(t, c.Ping(compattest.Context(t)))
	require.False(t, d.BackoffEnd(mustParse(t, e.Endpoint()).Endpoint).After(time.Now()))
	letGo = e.HoldReplies(wire.TypeFindValue)
	require.ErrorIs(t, find(), ErrNoReply, "asked again")
	letGo()
	compattest.Eventually(t, func() bool { return e.Stats().Streams == 0 }, "it has answered at last")
	require.NoError(t, c.Ping(compattest.Context(t)))
	require.ErrorIs(t, find(), ErrBackoff, "it did not answer twice")
	require.True(t, c.Current(), "the session's connection stays")
	require.Equal(t, 2, e.Stats().Accepted)
	e.RequireSpared()
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
