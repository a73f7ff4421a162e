package compat

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Reach tells of the connection that the next question uses.
func TestReach(t *testing.T) {
	g, err := glass.Start()
	require.NoError(t, err)
	defer g.Close()
	d := newDialer(t)
	r, err := d.Reach(testContext(t), g.Endpoint())
	require.NoError(t, err)
	id, err := ClientID(r.Certificate)
	require.NoError(t, err)
	require.Equal(t, g.ClientID(), id)
	require.Equal(t, g.Addr().String(), r.Addr.String())

	again, err := d.Reach(testContext(t), g.Endpoint())
	require.NoError(t, err)
	require.Equal(t, r, again)
	_, err = maculadht.Ping(testContext(t), d, at(g.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, 1, g.Stats().Accepted)
	require.Len(t, g.Clients(), 1)
	_, port, err := net.SplitHostPort(g.Clients()[0].String())
	require.NoError(t, err)
	require.Equal(t, port, strconv.Itoa(int(r.LocalPort)))

	requireCloses(t, d.Close)
	eventually(t, func() bool { return g.Stats().Open == 0 }, "closed")
	_, err = d.Reach(testContext(t), g.Endpoint())
	require.ErrorIs(t, err, maculadht.ErrClosed)
	require.Empty(t, g.Broken())
	require.Empty(t, g.Lapses())
}

// An endpoint that is left alone is not connected to either.
func TestReachRests(t *testing.T) {
	g, err := glass.Start()
	require.NoError(t, err)
	defer g.Close()
	letGo := g.HoldReplies(wire.TypePing)
	d := newDialer(t, DialTimeouts(patience, 50*time.Millisecond))
	_, err = maculadht.Ping(testContext(t), d, at(g.Endpoint()))
	require.ErrorIs(t, err, ErrNoReply)
	require.ErrorIs(t, err, routing.ErrUnreachable)
	_, err = d.Reach(testContext(t), g.Endpoint())
	require.ErrorIs(t, err, ErrResting)
	require.Equal(t, 1, g.Stats().Accepted)
	letGo()

	_, err = d.Reach(testContext(t), "nonsense")
	require.ErrorIs(t, err, ErrBadEndpoint)
}
