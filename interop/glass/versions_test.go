package glass_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// From 0.20.21 on a client's id is its certificate's digest in 32 raw bytes.
func TestRawClientIDs(t *testing.T) {
	for name, raw := range map[string]bool{"0.20.3": false, "0.20.21": true} {
		t.Run(name, func(t *testing.T) {
			var opts []glass.Option
			if raw {
				opts = append(opts, glass.RawClientIDs())
			}
			g, r := start(t, opts...), record(t, yes(t))
			s, err := g.Bootstrap(within(t), r.endpoint)
			require.NoError(t, err)
			connect, err := r.frames(0)[0].Decode()
			require.NoError(t, err)
			id := connect.(*wire.Connect).NodeID
			require.Equal(t, s.ID(), id)
			if raw {
				require.Equal(t, g.ClientID(), hex.EncodeToString(id))
			} else {
				require.Equal(t, g.ClientID(), string(id))
			}
		})
	}
}

// From 0.20.19 on a node asks for itself every 30 s, without type.
func TestFindsItself(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.record(yes(w))
		g := w.start(glass.FindsItself(glass.DefaultFindEvery))
		_, err := g.Bootstrap(within(w), r.endpoint)
		require.NoError(w, err)
		w.Pass(5*time.Minute + time.Second)
		require.Equal(w, 10, count(r.frames(0), wire.TypeFindNode))
		for _, f := range r.frames(0) {
			if f.Type == wire.TypeFindNode {
				require.Equal(w, mapping("target", g.ClientID()), wire.Raw(f.Payload))
			}
		}
	})
}

// 0.20.10 to 0.23.0 take 5 connections of an address in a fixed window of 10 s.
// The excess is closed before its handshake, and does not extend the window.
func TestRateLimited(t *testing.T) {
	inWorld(t, func(w *world) {
		g := w.start(glass.RateLimited(glass.DefaultPerSource, glass.DefaultSourceTime, glass.DefaultPerSecond))
		tr, other := w.transport(), w.transport()
		for range 5 {
			_, err := w.dialFrom(tr, g)
			require.NoError(w, err)
			w.Pass(time.Second)
		}
		require.NoError(w, g.NothingRefused())
		for range 4 { // up to the 9th second
			_, err := w.dialFrom(tr, g)
			require.Error(w, err)
			w.Pass(time.Second)
		}
		require.Equal(w, 4, g.Stats().Limited)
		require.ErrorContains(w, g.NothingRefused(), "more than 5 in 10s")
		_, err := w.dialFrom(other, g)
		require.NoError(w, err, "another address has a window of its own")
		w.Pass(2 * time.Second)
		_, err = w.dialFrom(tr, g)
		require.NoError(w, err, "the window is over")
		w.Pass(time.Second)
		require.Equal(w, 7, g.Stats().Accepted)
		require.Empty(w, g.Broken())
	})
}

// And 50 a second in all.
func TestRateLimitedInAll(t *testing.T) {
	inWorld(t, func(w *world) {
		g := w.start(glass.RateLimited(5, 10*time.Second, 3))
		refused := 0
		for range 5 {
			if _, err := w.dialFrom(w.transport(), g); err != nil {
				refused++
			}
			w.Pass(50 * time.Millisecond)
		}
		require.Equal(w, 2, refused)
		require.ErrorContains(w, g.NothingRefused(), "more than 3 a second in all")
	})
}

// From 0.20.9 on it listens on IPv4 only.
func TestIPv4Only(t *testing.T) {
	_, err := glass.Start(glass.IPv4Only(), glass.Listen("[::1]:0"))
	require.Error(t, err)
	dial(t, start(t, glass.IPv4Only())).ask(&wire.Ping{})
}
