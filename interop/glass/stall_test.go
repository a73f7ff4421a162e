package glass_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// knowEachOther are two nodes of which one bootstrapped from the other, so that
// each is in the other's routing table.
func knowEachOther(w *world) (a, b *glass.Gateway) {
	a, b = w.start(glass.RegisterAfter(-1)), w.start(glass.RegisterAfter(-1))
	_, err := b.Bootstrap(within(w), a.Endpoint())
	require.NoError(w, err)
	w.Pass(time.Second)
	return a, b
}

// Of two nodes that know each other one asks the other at a miss, which asks it
// back while it waits: 5 s.
func TestMissOfTwoThatKnowEachOther(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := knowEachOther(w)
		begun := time.Now()
		_, err := a.Lookup(within(w), id32)
		require.ErrorIs(w, err, glass.ErrNotFound)
		require.GreaterOrEqual(w, time.Since(begun), 5*time.Second)
		require.Less(w, time.Since(begun), 6*time.Second)
	})
}

// Misses at both at once crash their gateways, which wait for 10 s.
func TestMissAtBothCrashesThem(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := knowEachOther(w)
		a.Store([]byte("kept"), provider("a"))
		client, err := w.start().Connect(within(w), a.Endpoint(), nil)
		require.NoError(w, err)
		require.NoError(w, client.Subscribe(realm+".public.t"))
		w.Pass(time.Second)
		var tasks sync.WaitGroup
		for _, g := range []*glass.Gateway{a, b} {
			tasks.Go(func() { g.Lookup(w.Context(), id32) })
			tasks.Go(func() { g.Lookup(w.Context(), id32[:31]) })
		}
		tasks.Wait()
		w.Pass(20 * time.Second)
		for _, g := range []*glass.Gateway{a, b} {
			require.NotEmpty(w, g.Broken())
			require.Equal(w, glass.GatewayCrash, g.Broken()[0].Kind)
			require.Equal(w, glass.CauseSlowMiss, g.Broken()[0].Why)
		}
		require.Len(w, a.Stored([]byte("kept")), 1, "the records stay")
		sent, err := a.Push(&wire.Publish{Topic: "t"})
		require.NoError(w, err)
		require.Zero(w, sent, "its clients are forgotten")
		require.Equal(w, 1, client.Connections(), "though their connections live")
	})
}

// Two that bootstrapped from a third and were not told of each other do no harm.
func TestTwoThatAreNotIntroduced(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.record(func(f framing.Frame) []byte {
			if f.Type == wire.TypeFindValue {
				return encode(w, &wire.FindValueReply{})
			}
			return yes(w)(f)
		})
		a, b := w.start(), w.start()
		for _, g := range []*glass.Gateway{a, b} {
			_, err := g.Bootstrap(within(w), r.endpoint)
			require.NoError(w, err)
		}
		for range 60 {
			w.Pass(10 * time.Second)
			begun := time.Now()
			var tasks sync.WaitGroup
			for _, g := range []*glass.Gateway{a, b} {
				tasks.Go(func() { g.Lookup(w.Context(), id32) })
			}
			tasks.Wait()
			require.Less(w, time.Since(begun), time.Second)
		}
		require.Empty(w, a.Broken())
		require.Empty(w, b.Broken())
	})
}

// Two that are listed to each other dial and CONNECT to each other, once more at
// each poll, and then do each other the harm.
func TestTwoThatAreIntroduced(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start(glass.RegisterAfter(-1)), w.start(glass.RegisterAfter(-1))
		for _, of := range [][2]*glass.Gateway{{a, b}, {b, a}} {
			other := of[1].Addr()
			r := w.record(listing(w, mapping("node_id", of[1].ClientID(), "host", other.IP.String(), "port", other.Port, "realm", realm)))
			_, err := of[0].Bootstrap(within(w), r.endpoint)
			require.NoError(w, err)
		}
		w.Pass(100 * time.Second)
		require.Equal(w, 3, b.Stats().Open, "one each 30 s")
		require.Equal(w, 3, b.Stats().Frames[wire.TypeConnect])
		var tasks sync.WaitGroup
		for range 3 {
			tasks.Go(func() { a.Lookup(w.Context(), id32) })
			tasks.Go(func() { b.Lookup(w.Context(), id32) })
		}
		tasks.Wait()
		w.Pass(30 * time.Second)
		require.NotEmpty(w, append(a.Broken(), b.Broken()...))
	})
}

// Too many crashes end what restarts its gateway.
func TestCrashLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		g := w.start(glass.CrashLimit(10, time.Minute))
		c := w.dial(g)
		for range 10 {
			c.open().send(made(wire.TypeRPCRoute, wire.RawMap()))
			w.Pass(time.Second)
		}
		broken := g.Broken()
		require.Len(w, broken, 11)
		require.Equal(w, glass.Break{Kind: glass.Hang, Why: glass.CauseTooOften, Detail: "10 times within 1m0s"}, broken[10])
	})
}
