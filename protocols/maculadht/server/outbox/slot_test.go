package outbox

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

func TestSlots(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T, p *rig, slots <-chan *Slot)
	}{
		{"what is asked after it waits, what before does not", func(t *testing.T, p *rig, slots <-chan *Slot) {
			p.ask(0, 1, 2, 4)
			p.requireAnswers(0)
			p.requireSilence()
			filled := make(chan error)
			slot := <-slots
			go func() { filled <- slot.Fill(pong(1)) }()
			require.NoError(t, <-filled)
			p.requireAnswers(1, 2, 4)
			p.ask(6)
			p.requireAnswers(6)
			p.requireEnd()
		}},
		{"filled in reverse", func(t *testing.T, p *rig, slots <-chan *Slot) {
			p.ask(1, 3, 5, 7, 8)
			first, second, third, fourth := <-slots, <-slots, <-slots, <-slots
			require.NoError(t, fourth.Fill(pong(7)))
			require.NoError(t, third.Fill(pong(5)))
			require.NoError(t, second.Fill(pong(3)))
			p.requireSilence()
			require.NoError(t, first.Fill(pong(1)))
			p.requireAnswers(1, 3, 5, 7, 8)
			p.requireEnd()
		}},
		{"late", func(t *testing.T, p *rig, slots <-chan *Slot) {
			start := time.Now()
			p.ask(1, 2)
			slot := <-slots
			p.requireAnswers(1 + late)
			require.Equal(t, slotTime, time.Since(start))
			p.requireAnswers(2)
			require.ErrorIs(t, slot.Fill(pong(1)), ErrFilled)
			p.requireSilence()
			p.requireEnd()
			require.ErrorIs(t, slot.Fill(pong(1)), ErrFilled)
		}},
		{"filled twice", func(t *testing.T, p *rig, slots <-chan *Slot) {
			p.ask(1)
			slot := <-slots
			require.NoError(t, slot.Fill(pong(1)))
			require.ErrorIs(t, slot.Fill(pong(9)), ErrFilled)
			p.requireAnswers(1)
			time.Sleep(2 * slotTime)
			p.requireSilence()
			p.requireEnd()
		}},
		{"the stream has ended", func(t *testing.T, p *rig, slots <-chan *Slot) {
			p.ask(1)
			slot := <-slots
			p.Abort()
			require.Equal(t, End{}, <-p.ended)
			require.ErrorIs(t, slot.Fill(pong(1)), proto.ErrClosed)
			require.ErrorIs(t, p.Push(dhttest.Frame(wire.TypePublish)), proto.ErrClosed)
		}},
		{"the peer asks nothing more", func(t *testing.T, p *rig, slots <-chan *Slot) {
			p.ask(1, 2, 3, 4)
			p.Finish()
			first := <-slots
			<-slots // nobody fills it
			time.Sleep(time.Second)
			require.NoError(t, first.Fill(pong(1)))
			p.requireAnswers(1, 2, 3+late, 4)
			require.Equal(t, End{}, <-p.ended)
		}},
		{"too large an answer", func(t *testing.T, p *rig, slots <-chan *Slot) {
			p.ask(1, 2)
			require.ErrorIs(t, (<-slots).Fill(&wire.Reply{Result: make(wire.Raw, wire.MaxPayload+1)}), framing.ErrTooLarge)
			p.requireAnswers(1+late, 2)
			p.requireEnd()
		}},
		{"no room for the answer", func(t *testing.T, p *rig, slots <-chan *Slot) {
			p.ask(1, 2)
			slot := <-slots
			all := p.limits().Source.Memory
			held, _ := p.account.Usage()
			require.NoError(t, p.account.ReserveMemory(int(all-held.Memory), 255))
			require.ErrorIs(t, slot.Fill(&wire.FindValueReply{Values: []wire.Raw{make(wire.Raw, 5000)}}), ErrBusy)
			p.account.ReleaseMemory(int(all - held.Memory))
			p.requireAnswers(1+late, 2)
			p.requireEnd()
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t, testLimits())
				test.run(t, p, p.slots)
				p.requireNothingHeld()
			})
		})
	}
}

func TestDeferChecksItsTime(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"none": 0, "negative": -1, "too long": testLimits().SlotTime + 1} {
		t.Run(name, func(t *testing.T) {
			p := newRig(t, testLimits())
			_, err := p.Defer(timeout, pong(0))
			require.ErrorContains(t, err, "deferred for")
			p.requireEnd()
		})
	}
}

func TestSlotsAreLimited(t *testing.T) {
	l := testLimits()
	l.Slots = 2
	p := newRig(t, l)
	p.ask(1, 3)
	_, err := p.Defer(slotTime, pong(late))
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, (<-p.slots).Fill(pong(1)))
	p.requireAnswers(1)
	p.ask(5) // a slot is free again
	require.NoError(t, (<-p.slots).Fill(pong(3)))
	require.NoError(t, (<-p.slots).Fill(pong(5)))
	p.requireAnswers(3, 5)
	p.requireEnd()
	p.requireNothingHeld()
}

// What has no place in the order does not wait for what has, nor does that for it; who
// is late is answered all the same.
func TestSlotsApart(t *testing.T) {
	apart := func(t *testing.T, p *rig, n uint32) *Slot {
		slot, err := p.DeferApart(slotTime, pong(n+late))
		require.NoError(t, err)
		return slot
	}
	tests := []struct {
		name string
		run  func(t *testing.T, p *rig)
	}{
		{"before what has a place and is open", func(t *testing.T, p *rig) {
			p.ask(1)
			require.NoError(t, apart(t, p, 7).Fill(pong(7)))
			p.requireAnswers(7)
			require.NoError(t, (<-p.slots).Fill(pong(1)))
			p.requireAnswers(1)
			p.requireEnd()
		}},
		{"what is asked next does not wait", func(t *testing.T, p *rig) {
			first, second := apart(t, p, 7), apart(t, p, 9)
			p.ask(2)
			p.requireAnswers(2)
			require.NoError(t, second.Fill(pong(9)))
			p.requireAnswers(9)
			require.NoError(t, first.Fill(pong(7)))
			require.ErrorIs(t, first.Fill(pong(7)), ErrFilled)
			p.requireAnswers(7)
			p.requireEnd()
		}},
		{"late, though the peer asks nothing more", func(t *testing.T, p *rig) {
			slot := apart(t, p, 7)
			p.Finish()
			p.requireAnswers(7 + late)
			require.ErrorIs(t, slot.Fill(pong(7)), ErrFilled)
			require.Equal(t, End{}, <-p.ended)
		}},
		{"not dropped for what is pushed", func(t *testing.T, p *rig) {
			slot := apart(t, p, 7)
			for range 2 * p.Outbox.limits.Queue / 1000 {
				_ = p.Push(dhttest.Frame(wire.TypePublish, make([]byte, 1000)...)) // some find no room
			}
			require.NoError(t, slot.Fill(pong(7)))
			for {
				if f := p.next(); f.Type == wire.TypePong {
					break
				}
			}
			p.Abort()
			p.peer.Close()
			<-p.ended
		}},
		{"the stream has ended", func(t *testing.T, p *rig) {
			slot := apart(t, p, 7)
			p.Abort()
			require.Equal(t, End{}, <-p.ended)
			require.ErrorIs(t, slot.Fill(pong(7)), proto.ErrClosed)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t, testLimits())
				test.run(t, p)
				p.requireNothingHeld()
			})
		})
	}
}

func TestSlotsApartAreLimitedWithTheOthers(t *testing.T) {
	l := testLimits()
	l.Slots = 2
	p := newRig(t, l)
	p.ask(1)
	slot, err := p.DeferApart(slotTime, pong(late))
	require.NoError(t, err)
	_, err = p.DeferApart(slotTime, pong(late))
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, slot.Fill(pong(3)))
	p.requireAnswers(3)
	require.NoError(t, (<-p.slots).Fill(pong(1)))
	p.requireAnswers(1)
	p.requireEnd()
	p.requireNothingHeld()
}
