package glass_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// A gateway that stalls for 14 s answers after them.
func TestStall(t *testing.T) {
	inWorld(t, func(w *world) {
		g := w.start()
		c := w.dial(g)
		c.ask(&wire.Ping{})
		begun := time.Now()
		g.Stall(14 * time.Second)
		c.ask(&wire.Ping{})
		require.GreaterOrEqual(w, time.Since(begun), 14*time.Second)
		require.Less(w, time.Since(begun), 15*time.Second)
		require.Empty(w, g.Broken())
	})
}

// Each stream of a CONNECTed connection that is ended has the node connect anew
// twice after 5 s, and the old connections stay: 1, 2, 4, 8 … until it breaks.
func TestEndedStreamsDoubleConnections(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		r := w.record(func(framing.Frame) []byte { return encode(w, &wire.Disconnect{Reason: "realm_mismatch"}) })
		r.hangUp = true
		g := w.start()
		s, err := g.Bootstrap(within(w), r.endpoint)
		require.NoError(w, err)
		w.Pass(time.Second)
		for _, want := range []int{1, 3, 7, 15, 31} {
			require.Equal(w, want, s.Connections())
			require.Len(w, r.conns(), want)
			require.Empty(w, g.Broken())
			w.Pass(5 * time.Second)
		}
		w.Pass(20 * time.Second)
		broken := g.Broken()
		require.Len(w, broken, 1)
		require.Equal(w, glass.PeerCrash, broken[0].Kind)
		require.Equal(w, glass.CauseReconnects, broken[0].Why)
		require.Regexp(w, `^(2[5-9]\d|[3-5]\d\d) connections to`, broken[0].Detail)
		require.Less(w, s.Connections(), 4, "it begins again with one")
	})
}

// Where its stream is kept it stays at one connection, be it turned away.
func TestKeptStreamsDoNot(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.record(func(framing.Frame) []byte { return encode(w, &wire.Disconnect{Reason: "realm_mismatch"}) })
		g := w.start()
		s, err := g.Bootstrap(within(w), r.endpoint)
		require.NoError(w, err)
		w.Pass(10*time.Minute + time.Second)
		require.Equal(w, 1, s.Connections())
		require.Len(w, r.conns(), 1)
		require.Equal(w, 20, count(r.frames(0), wire.TypePing), "one in 30 s")
		require.Equal(w, 20, count(r.frames(0), wire.TypeCall), "one in 30 s, the first after 3 s")
		require.Empty(w, g.Broken())
	})
}

// A gateway that is killed and comes back half a second later is the same one,
// with an empty memory: it registers itself 3 s later, and its clients come back
// with more connections than they had, without their subscriptions.
func TestRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		g := w.start()
		w.Pass(4 * time.Second)
		own, topic := []byte(wire.GatewayPrefix+g.ClientID()), realm+".public.t"
		require.Len(w, g.Stored(own), 1)
		node := w.start()
		s, err := node.Bootstrap(within(w), g.Endpoint())
		require.NoError(w, err)
		require.NoError(w, s.Subscribe(topic))
		w.Pass(time.Second)
		require.NotEmpty(w, g.Stored(hashed(topic)))
		old := w.dial(g)

		addr, begun := g.Addr().String(), time.Now()
		require.NoError(w, g.Restart())
		require.GreaterOrEqual(w, time.Since(begun), 500*time.Millisecond)
		require.Equal(w, addr, g.Addr().String())
		fresh := w.dial(g)
		require.Equal(w, old.ConnectionState().TLS.PeerCertificates[0].Raw, fresh.ConnectionState().TLS.PeerCertificates[0].Raw)
		require.NoError(w, old.Context().Err(), "nobody was told")
		require.Empty(w, g.Stored(hashed(topic)))
		require.Empty(w, g.Stored(own), "not yet registered")
		w.Pass(3 * time.Second)
		require.Len(w, g.Stored(own), 1)

		w.Pass(22 * time.Second)
		require.Equal(w, 2, s.Connections(), "noticed within 13 s, back 5 s later, and the second, refused for the first, in 5 more")
		require.Equal(w, 1, g.Stats().Frames[wire.TypeSubscribe], "it does not SUBSCRIBE again")
		require.NoError(w, g.Restart())
		w.Pass(40 * time.Second)
		require.Equal(w, 4, s.Connections())
		require.Equal(w, 2, g.Stats().Restarts)
		require.Empty(w, g.Broken())
		require.Empty(w, node.Broken())
	})
}

// A node that is itself restarted bootstraps anew, with one connection.
func TestRestartOfNode(t *testing.T) {
	inWorld(t, func(w *world) {
		g, node := w.start(), w.start()
		s, err := node.Bootstrap(within(w), g.Endpoint())
		require.NoError(w, err)
		other, err := node.Connect(within(w), g.Endpoint(), nil)
		require.NoError(w, err)
		require.NoError(w, node.Restart())
		w.Pass(time.Second)
		require.Equal(w, 1, s.Connections())
		<-other.Done()
		require.Error(w, other.Say(&wire.Ping{}), "a client of macula:connect is gone")
	})
}

// What a client advertised it renews 60 s before its ttl has passed, not earlier.
func TestRenewal(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.record(yes(w))
		s, err := w.start().Connect(within(w), r.endpoint, id32)
		require.NoError(w, err)
		s.Advertise(realm + ".add")
		w.Pass(239 * time.Second)
		require.Equal(w, 1, count(r.frames(0), wire.TypeStore))
		w.Pass(2 * time.Second)
		require.Equal(w, 2, count(r.frames(0), wire.TypeStore))
	})
}
