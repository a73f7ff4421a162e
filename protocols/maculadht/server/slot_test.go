package server

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// late marks the answer for who is late.
const late = 1 << 20

const slotTime = 5 * time.Second

// deferring answers even numbers at once, and hands out the slots of odd ones.
func (r *rig) deferring() <-chan *Slot {
	r.t.Helper()
	slots := make(chan *Slot, 1000)
	require.NoError(r.t, r.mux.Handle(typeAsk, func(p *Peer, f wire.Frame) error {
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

func (p *memPeer) ask(numbers ...uint32) {
	p.t.Helper()
	for _, n := range numbers {
		p.write(numbered(n))
	}
}

func (p *memPeer) requireAnswers(numbers ...uint32) {
	p.t.Helper()
	for _, n := range numbers {
		m, err := p.next().Decode()
		require.NoError(p.t, err)
		require.Equal(p.t, wire.Some(int64(n)), m.(*wire.Pong).Timestamp)
	}
}

// What is asked while all slots are open is answered busy, in its turn.
func TestSlotsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, limits(func(l *Limits) { l.Slots = 2 }))
		slots := make(chan *Slot, 2)
		r.mux = r.mux.With(wire.TypeFindValue, func(p *Peer, f wire.Frame) error {
			slot, err := p.Defer(slotTime, &wire.FindValueReply{Reason: wire.ReasonBusy})
			if err == nil {
				slots <- slot
			}
			return err
		})
		p := r.serve(LibP2P())
		value := dhttest.Value("a")
		ask := dhttest.Frames(t, &wire.FindValue{Key: []byte("k")})
		for range 3 {
			p.write(ask)
		}
		require.NoError(t, (<-slots).Fill(&wire.FindValueReply{Values: []wire.Raw{value}}))
		require.NoError(t, (<-slots).Fill(&wire.FindValueReply{Values: []wire.Raw{value}}))
		for _, want := range []*wire.FindValueReply{{Values: []wire.Raw{value}}, {Values: []wire.Raw{value}}, {Reason: wire.ReasonBusy}} {
			got, err := p.next().Decode()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.EqualValues(t, 1, r.mux.Stats().Busy)
		p.write(ask)
		require.NoError(t, (<-slots).Fill(&wire.FindValueReply{Values: []wire.Raw{value}}), "a slot is free again")
		p.next()
		p.requireEnd()
		r.requireNothingHeld()
	})
}

// Shutting down waits for nothing: not for slots, nor for a Write that nobody
// takes.
func TestShutdownWithAllOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		slots := r.deferring()
		p := r.serve(Erlang())
		p.ask(0, 1, 2, 3) // nobody reads: the Write of the first answer blocks
		for range 50 {
			require.NoError(t, p.peer.Push(dhttest.Frame(wire.TypePublish, make([]byte, 1000)...)))
		}
		synctest.Wait()
		held, _ := r.account.Usage()
		require.Greater(t, held.Memory, int64(50_000))
		ended := make(chan time.Time, 1)
		p.peer.OnEnd(func() { ended <- time.Now() })

		start := time.Now()
		p.shutdown()
		require.Error(t, <-p.ended)
		require.Zero(t, time.Since(start))
		require.Equal(t, start, <-ended)
		require.Equal(t, proto.ResetShutdown, (<-p.stream.reset).code)
		require.EqualValues(t, 1, r.mux.Stats().Resets[proto.ResetShutdown])
		require.EqualValues(t, 50, r.mux.Stats().PushesDropped)
		r.requireNothingHeld()
		for range 2 {
			require.ErrorIs(t, (<-slots).Fill(pong(0)), proto.ErrClosed)
		}
		called := false
		p.peer.OnEnd(func() { called = true })
		require.True(t, called, "at once after the end")
		require.Error(t, p.peer.Context().Err())
	})
}

// A handler's error ends the stream, whatever is open.
func TestHandlerErrorEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		slots := r.deferring()
		failure := errors.New("failure")
		r.mux = r.mux.With(wire.TypePing, func(*Peer, wire.Frame) error { return failure })
		p := r.serve(Erlang())
		p.ask(0)
		p.requireAnswers(0)
		p.ask(1, 2)
		p.write(dhttest.Frames(t, &wire.Ping{}))
		require.ErrorIs(t, <-p.ended, failure)
		require.ErrorIs(t, (<-slots).Fill(pong(1)), proto.ErrClosed)
		r.requireNothingHeld()
	})
}
