package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// slotTime is how long the answers of these tests may be outstanding.
const slotTime = 5 * time.Second

// openSlots serves a stream on which each RPC_REQUEST is answered later, through
// the slots that come out.
func openSlots(t *testing.T, change func(*Limits, *Session)) (*talk, chan *Slot) {
	k := openTalk(t, change)
	slots := make(chan *Slot, 1000)
	handlers := *k.handlers.mux.handlers.Load()
	handlers[wire.TypeCall] = func(p *Peer, _ wire.Frame) error {
		s, err := p.Defer(slotTime, late)
		if err == nil {
			slots <- s
		}
		return err
	}
	k.peer.mux.handlers.Store(&handlers)
	return k, slots
}

var late = &wire.Reply{Error: &wire.CallError{Code: "late", Message: "nobody answered"}}

func answer(n int64) *wire.Reply { return &wire.Reply{Result: wire.RawInt(n)} }

func (k *talk) next() wire.Message {
	k.t.Helper()
	f, err := k.in.Next()
	require.NoError(k.t, err)
	m, err := f.Decode()
	require.NoError(k.t, err)
	return m
}

func (k *talk) requireAnswer(n int64) {
	k.t.Helper()
	got, ok := k.next().(*wire.Reply).Result.Int()
	require.True(k.t, ok)
	require.Equal(k.t, n, got)
}

func TestSlotsKeepTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, slots := openSlots(t, nil)
		call, ping := &wire.Call{Procedure: "p"}, &wire.Ping{Timestamp: wire.Some[int64](7)}
		k.write(dhttest.Frames(t, ping, call, ping, call, call, ping))
		require.IsType(t, &wire.Pong{}, k.next(), "what was asked before does not wait")
		first, second, third := <-slots, <-slots, <-slots
		synctest.Wait()
		go func() {
			for _, fill := range []struct {
				slot *Slot
				n    int64
			}{{third, 3}, {second, 2}, {first, 1}} {
				time.Sleep(time.Second)
				if err := fill.slot.Fill(answer(fill.n)); err != nil {
					t.Error(err)
				}
			}
		}()
		begun := time.Now()
		k.requireAnswer(1)
		require.Equal(t, 3*time.Second, time.Since(begun))
		require.IsType(t, &wire.Pong{}, k.next())
		k.requireAnswer(2)
		k.requireAnswer(3)
		require.IsType(t, &wire.Pong{}, k.next())
		require.ErrorIs(t, first.Fill(answer(1)), ErrFilled)
		k.end()
		require.ErrorIs(t, first.Fill(answer(1)), ErrFilled)
	})
}

func TestSlotThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, slots := openSlots(t, nil)
		k.write(dhttest.Frames(t, &wire.Call{Procedure: "p"}, &wire.Ping{}))
		begun := time.Now()
		require.Equal(t, "late", k.next().(*wire.Reply).Error.Code)
		require.Equal(t, slotTime, time.Since(begun))
		require.IsType(t, &wire.Pong{}, k.next())
		require.ErrorIs(t, (<-slots).Fill(answer(1)), ErrFilled)
		k.end()
	})
}

func TestTooManySlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, slots := openSlots(t, func(l *Limits, _ *Session) { l.Slots = 2 })
		call := &wire.Call{Procedure: "p", CallID: []byte("id")}
		k.write(dhttest.Frames(t, call, call, call))
		first, second := <-slots, <-slots
		require.NoError(t, first.Fill(answer(1)))
		require.NoError(t, second.Fill(answer(2)))
		k.requireAnswer(1)
		k.requireAnswer(2)
		require.Equal(t, wire.CodeBusy, k.next().(*wire.Reply).Error.Code)
		k.end()
	})
}

// When the node stops, or the peer goes, open slots are given up at once.
func TestSlotsEndWithTheStream(t *testing.T) {
	for name, end := range map[string]func(*talk){
		"shutdown":  func(k *talk) { k.shutdown() },
		"peer gone": func(k *talk) { k.stream.Reset(proto.ResetGone) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, slots := openSlots(t, nil)
				k.write(dhttest.Frames(t, &wire.Call{Procedure: "p"}, &wire.Call{Procedure: "p"}))
				slot := <-slots
				require.NoError(t, k.peer.Push(pushed(t, 0, 0, 1000)), "nobody reads it")
				synctest.Wait()
				begun := time.Now()
				end(k)
				require.Error(t, <-k.ended)
				require.Zero(t, time.Since(begun))
				require.ErrorIs(t, slot.Fill(answer(1)), proto.ErrClosed)
				k.requireNothingHeld()
			})
		})
	}
}
