package server_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// late marks the answer for who is late.
const late = 1 << 20

const slotTime = 5 * time.Second

// deferring answers even numbers at once, and hands out the slots of odd ones.
func (r *rig) deferring() <-chan *server.Slot {
	r.T.Helper()
	slots := make(chan *server.Slot, 1000)
	require.NoError(r.T, r.Mux.Handle(typeAsk, func(p *server.Peer, f framing.Frame) error {
		n := numberOf(f)
		if n%2 == 0 {
			return p.Reply(pong(n))
		}
		slot, err := p.Defer(slotTime, pong(n+late))
		if err == nil {
			slots <- slot
		}
		return err
	}))
	return slots
}

// What is asked while all slots are open is answered busy, in its turn.
func TestSlotsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, limits(func(l *server.Limits) { l.Slots = 2 }))
		slots := make(chan *server.Slot, 2)
		r.Mux = r.Mux.With(wire.TypeFindValue, func(p *server.Peer, f framing.Frame) error {
			slot, err := p.Defer(slotTime, &wire.FindValueReply{Reason: wire.ReasonBusy})
			if err == nil {
				slots <- slot
			}
			return err
		})
		p := r.serve(server.LibP2P())
		value := dhttest.Value("a")
		ask := dhttest.Frames(t, &wire.FindValue{Key: []byte("k")})
		for range 3 {
			p.Send(ask)
		}
		require.NoError(t, (<-slots).Fill(&wire.FindValueReply{Values: []wire.Raw{value}}))
		require.NoError(t, (<-slots).Fill(&wire.FindValueReply{Values: []wire.Raw{value}}))
		for _, want := range []*wire.FindValueReply{{Values: []wire.Raw{value}}, {Values: []wire.Raw{value}}, {Reason: wire.ReasonBusy}} {
			got, err := p.Next().Decode()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.EqualValues(t, 1, r.Mux.Stats().Busy)
		p.Send(ask)
		require.NoError(t, (<-slots).Fill(&wire.FindValueReply{Values: []wire.Raw{value}}), "a slot is free again")
		p.Next()
		p.RequireEnd()
		r.RequireNothingHeld()
	})
}

// Shutting down waits for nothing: not for slots, nor for a Write that nobody
// takes.
func TestShutdownWithAllOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		slots := r.deferring()
		p := r.serve(server.Erlang())
		p.ask(0, 1, 2, 3) // nobody reads: the Write of the first answer blocks
		for range 50 {
			require.NoError(t, p.Peer.Push(dhttest.Frame(wire.TypePublish, make([]byte, 1000)...)))
		}
		synctest.Wait()
		held, _ := r.Account.Usage()
		require.Greater(t, held.Memory, int64(50_000))
		ended := make(chan time.Time, 1)
		p.Peer.OnEnd(func() { ended <- time.Now() })

		start := time.Now()
		p.Shutdown()
		require.Error(t, <-p.Ended)
		require.Zero(t, time.Since(start))
		require.Equal(t, start, <-ended)
		require.Equal(t, proto.ResetShutdown, (<-p.Stream.Resets).Code)
		require.EqualValues(t, 1, r.Mux.Stats().Resets[proto.ResetShutdown])
		require.EqualValues(t, 50, r.Mux.Stats().PushesDropped)
		r.RequireNothingHeld()
		for range 2 {
			require.ErrorIs(t, (<-slots).Fill(pong(0)), proto.ErrClosed)
		}
		called := false
		p.Peer.OnEnd(func() { called = true })
		require.True(t, called, "at once after the end")
		require.Error(t, p.Peer.Context().Err())
	})
}

// A handler's error ends the stream, whatever is open.
func TestHandlerErrorEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		slots := r.deferring()
		failure := errors.New("failure")
		r.Mux = r.Mux.With(wire.TypePing, func(*server.Peer, framing.Frame) error { return failure })
		p := r.serve(server.Erlang())
		p.ask(0)
		p.requireAnswers(0)
		p.ask(1, 2)
		p.Send(dhttest.Frames(t, &wire.Ping{}))
		require.ErrorIs(t, <-p.Ended, failure)
		require.ErrorIs(t, (<-slots).Fill(pong(1)), proto.ErrClosed)
		r.RequireNothingHeld()
	})
}
