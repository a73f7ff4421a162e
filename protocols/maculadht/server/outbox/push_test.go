package outbox

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// publication is a frame of n bytes in all, with a number.
func publication(number uint32, n int) []byte {
	payload := make([]byte, n-framing.HeaderSize)
	binary.BigEndian.PutUint32(payload, number)
	return dhttest.Frame(wire.TypePublish, payload...)
}

// requirePushed requires the publications of these numbers.
func (p *rig) requirePushed(numbers ...uint32) {
	p.t.Helper()
	for _, n := range numbers {
		f := p.next()
		require.Equal(p.t, wire.TypePublish, f.Type)
		require.Equal(p.t, n, numberOf(f))
	}
}

// The queue of these tests has room for four publications. The first to be pushed
// is soon being written, and makes no room.
const (
	pushQueue = proto.MaxFindValueReply
	quarter   = pushQueue/4 - frameCost
)

func TestPush(t *testing.T) {
	push := func(t *testing.T, p *rig, numbers ...uint32) {
		t.Helper()
		for _, n := range numbers {
			require.NoError(t, p.Push(publication(n, quarter)))
			synctest.Wait() // the writer takes what it can
		}
	}
	tests := []struct {
		name    string
		run     func(t *testing.T, p *rig)
		dropped map[DropReason]int
	}{
		{"all have room", func(t *testing.T, p *rig) {
			push(t, p, 1, 2, 3, 4)
			p.requirePushed(1, 2, 3, 4)
		}, nil},
		{"the oldest that waits goes first", func(t *testing.T, p *rig) {
			push(t, p, 1, 2, 3, 4, 5, 6)
			p.requirePushed(1, 4, 5, 6)
			push(t, p, 7)
			p.requirePushed(7)
		}, map[DropReason]int{DropSlow: 2}},
		{"a large one takes the place of several", func(t *testing.T, p *rig) {
			push(t, p, 1, 2, 3, 4)
			require.NoError(t, p.Push(publication(5, 2*quarter)))
			p.requirePushed(1, 4, 5)
		}, map[DropReason]int{DropSlow: 2}},
		{"one that is longer than the queue leaves when nothing waits", func(t *testing.T, p *rig) {
			require.NoError(t, p.Push(publication(1, 3*pushQueue)))
			synctest.Wait()
			require.ErrorIs(t, p.Push(publication(2, 3*pushQueue)), ErrNoRoom, "one is being written")
			p.requirePushed(1)
			synctest.Wait()
			require.NoError(t, p.Push(publication(3, 3*pushQueue)))
			p.requirePushed(3)
		}, map[DropReason]int{DropSlow: 1}},
		{"answers fill the queue", func(t *testing.T, p *rig) {
			require.NoError(t, p.Reply(&wire.Reply{Result: wire.RawBytes(make([]byte, 3*pushQueue/4))}))
			p.Flush()
			synctest.Wait()
			require.ErrorIs(t, p.Push(publication(1, quarter)), ErrNoRoom)
			require.NoError(t, p.Push(publication(2, 1000)), "it has room beside them")
			require.Equal(t, wire.TypeReply, p.next().Type)
			p.requirePushed(2)
			push(t, p, 3)
			p.requirePushed(3)
		}, map[DropReason]int{DropSlow: 1}},
		{"the account is full", func(t *testing.T, p *rig) {
			held, _ := p.account.Usage()
			most := int(p.limits().Source.Memory - held.Memory)
			push(t, p, 1, 2, 3)
			most -= 3 * (quarter + frameCost)
			require.NoError(t, p.account.ReserveMemory(most, 255))
			push(t, p, 4) // in the stead of 2
			require.ErrorIs(t, p.Push(publication(5, 3*quarter)), ErrNoRoom, "that 3 and 4 made room did not suffice")
			require.NoError(t, p.Push(publication(6, 1000)))
			p.account.ReleaseMemory(most)
			p.requirePushed(1, 6)
		}, map[DropReason]int{DropMemory: 2, DropSlow: 2}},
		{"the stream ends before they are written", func(t *testing.T, p *rig) {
			push(t, p, 1, 2, 3)
			p.Abort()
			require.NoError(t, p.peer.Close())
			require.Error(t, (<-p.ended).Err)
			require.ErrorIs(t, p.Push(publication(4, quarter)), proto.ErrClosed)
		}, map[DropReason]int{DropEnded: 3}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := testLimits()
				l.Queue = pushQueue
				p := newRig(t, l)
				test.run(t, p)
				p.requireEnd()
				p.requireNothingHeld()
				if test.dropped == nil {
					require.Empty(t, p.drops)
				} else {
					require.Equal(t, test.dropped, p.drops)
				}
			})
		})
	}
}

// Who is told of dropped frames may use the outbox.
func TestDroppedMayUseTheOutbox(t *testing.T) {
	full := func(p *rig) { // but for what waits
		held, _ := p.account.Usage()
		p.taken = int(p.limits().Source.Memory - held.Memory)
		require.NoError(p.t, p.account.ReserveMemory(p.taken, 255))
	}
	large := &wire.FindValueReply{Values: []wire.Raw{make(wire.Raw, 1000)}}
	tests := map[string]struct {
		run  func(t *testing.T, p *rig)
		want DropReason
	}{
		"a push in the stead of another": {func(t *testing.T, p *rig) {
			require.NoError(t, p.Push(publication(5, quarter)))
		}, DropSlow},
		"a push without room": {func(t *testing.T, p *rig) {
			require.ErrorIs(t, p.Push(publication(5, 2*pushQueue)), ErrNoRoom)
		}, DropSlow},
		"a push without memory": {func(t *testing.T, p *rig) {
			full(p)
			require.NoError(t, p.Push(publication(5, quarter)))
		}, DropSlow},
		"an answer in the stead of a push": {func(t *testing.T, p *rig) {
			full(p)
			require.NoError(t, p.Reply(large))
		}, DropMemory},
		"a deferred answer in the stead of a push": {func(t *testing.T, p *rig) {
			full(p)
			_, err := p.Defer(slotTime, large)
			require.NoError(t, err)
		}, DropMemory},
		"a late answer in the stead of a push": {func(t *testing.T, p *rig) {
			p.ask(1)
			full(p)
			require.NoError(t, (<-p.slots).Fill(large))
		}, DropMemory},
		"the end": {func(t *testing.T, p *rig) {
			p.Abort()
			require.NoError(t, p.peer.Close())
			require.Error(t, (<-p.ended).Err)
		}, DropEnded},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := testLimits()
				l.Queue = pushQueue
				p := newRig(t, l)
				once := false
				p.onDrop = func(DropReason) {
					p.Flush()
					_ = p.Err()
					if !once {
						once = true
						_ = p.Push(publication(9, 100))
					}
				}
				for n := range uint32(4) {
					require.NoError(t, p.Push(publication(n, quarter)))
					synctest.Wait()
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					test.run(t, p)
				}()
				select {
				case <-done:
				case <-time.After(time.Hour):
					t.Fatal("it does not return")
				}
				p.account.ReleaseMemory(p.taken)
				require.NoError(t, p.peer.Close())
				p.requireEnd()
				require.Positive(t, p.drops[test.want])
				p.requireNothingHeld()
			})
		})
	}
}
