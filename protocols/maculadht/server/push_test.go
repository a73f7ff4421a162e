package server

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// fakeTracer counts.
type fakeTracer struct {
	mu      sync.Mutex
	opened  int
	ended   []proto.ResetCode
	frames  map[FrameResult]int
	dropped map[DropReason]int
}

func newFakeTracer() *fakeTracer {
	return &fakeTracer{frames: make(map[FrameResult]int), dropped: make(map[DropReason]int)}
}

func (f *fakeTracer) StreamOpened(string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened++
}

func (f *fakeTracer) StreamEnded(_ string, code proto.ResetCode, _ bool, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, code)
}

func (f *fakeTracer) FrameReceived(_ string, _ wire.Type, r FrameResult, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frames[r]++
}

func (f *fakeTracer) PushDropped(why DropReason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped[why]++
}

// publication is a frame of n bytes in all, with a number.
func publication(number uint32, n int) []byte {
	payload := make([]byte, n-wire.HeaderSize)
	binary.BigEndian.PutUint32(payload, number)
	return dhttest.Frame(wire.TypePublish, payload...)
}

// requirePushed requires the publications of these numbers.
func (p *memPeer) requirePushed(numbers ...uint32) {
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
	push := func(t *testing.T, p *memPeer, numbers ...uint32) {
		t.Helper()
		for _, n := range numbers {
			require.NoError(t, p.peer.Push(publication(n, quarter)))
			synctest.Wait() // the writer takes what it can
		}
	}
	tests := []struct {
		name    string
		run     func(t *testing.T, r *rig, p *memPeer)
		dropped map[DropReason]int
	}{
		{"all have room", func(t *testing.T, r *rig, p *memPeer) {
			push(t, p, 1, 2, 3, 4)
			p.requirePushed(1, 2, 3, 4)
		}, nil},
		{"the oldest that waits goes first", func(t *testing.T, r *rig, p *memPeer) {
			push(t, p, 1, 2, 3, 4, 5, 6)
			p.requirePushed(1, 4, 5, 6)
			push(t, p, 7)
			p.requirePushed(7)
		}, map[DropReason]int{DropSlow: 2}},
		{"a large one takes the place of several", func(t *testing.T, r *rig, p *memPeer) {
			push(t, p, 1, 2, 3, 4)
			require.NoError(t, p.peer.Push(publication(5, 2*quarter)))
			p.requirePushed(1, 4, 5)
		}, map[DropReason]int{DropSlow: 2}},
		{"one that is longer than the queue leaves when nothing waits", func(t *testing.T, r *rig, p *memPeer) {
			require.NoError(t, p.peer.Push(publication(1, 3*pushQueue)))
			synctest.Wait()
			require.ErrorIs(t, p.peer.Push(publication(2, 3*pushQueue)), ErrNoRoom, "one is being written")
			p.requirePushed(1)
			synctest.Wait()
			require.NoError(t, p.peer.Push(publication(3, 3*pushQueue)))
			p.requirePushed(3)
		}, map[DropReason]int{DropSlow: 1}},
		{"answers fill the queue", func(t *testing.T, r *rig, p *memPeer) {
			p.write(dhttest.Frame(typeAsk))
			synctest.Wait()
			require.ErrorIs(t, p.peer.Push(publication(1, quarter)), ErrNoRoom)
			require.NoError(t, p.peer.Push(publication(2, 1000)), "it has room beside them")
			require.Equal(t, wire.TypeReply, p.next().Type)
			p.requirePushed(2)
			push(t, p, 3)
			p.requirePushed(3)
		}, map[DropReason]int{DropSlow: 1}},
		{"the account is full", func(t *testing.T, r *rig, p *memPeer) {
			held, _ := r.account.Usage()
			most := int(r.handlers.Budget().Limits().Source.Memory - held.Memory)
			push(t, p, 1, 2, 3)
			most -= 3 * (quarter + frameCost)
			require.NoError(t, r.account.ReserveMemory(most, 255))
			push(t, p, 4) // in the stead of 2
			require.ErrorIs(t, p.peer.Push(publication(5, 3*quarter)), ErrNoRoom, "that 3 and 4 made room did not suffice")
			require.NoError(t, p.peer.Push(publication(6, 1000)))
			r.account.ReleaseMemory(most)
			p.requirePushed(1, 6)
		}, map[DropReason]int{DropMemory: 2, DropSlow: 2}},
		{"the stream ends before they are written", func(t *testing.T, r *rig, p *memPeer) {
			push(t, p, 1, 2, 3)
			p.shutdown()
			require.Error(t, <-p.ended)
			require.ErrorIs(t, p.peer.Push(publication(4, quarter)), proto.ErrClosed)
			p.ended <- nil
		}, map[DropReason]int{DropEnded: 3}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tracer := newFakeTracer()
				r := newRig(t, limits(func(l *Limits) { l.Queue = pushQueue }), WithMetricsTracer(tracer))
				require.NoError(t, r.mux.Handle(typeAsk, func(p *Peer, _ wire.Frame) error {
					return p.Reply(&wire.Reply{Result: wire.RawBytes(make([]byte, 3*pushQueue/4))})
				}))
				p := r.serve(LibP2P())
				test.run(t, r, p)
				p.requireEnd()
				r.requireNothingHeld()
				sum := 0
				for _, n := range tracer.dropped {
					sum += n
				}
				require.EqualValues(t, sum, r.mux.Stats().PushesDropped)
				if test.dropped == nil {
					require.Empty(t, tracer.dropped)
				} else {
					require.Equal(t, test.dropped, tracer.dropped)
				}
			})
		})
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer := newFakeTracer()
		r := newRig(t, WithMetricsTracer(tracer))
		p := r.serve(LibP2P())
		p.write(dhttest.Frames(t, &wire.Ping{}))
		p.next()
		p.write(dhttest.Frame(0xee))
		p.write(dhttest.Frames(t, &wire.Publish{Topic: "t"}))
		p.requireEnd()
		q := r.serve(LibP2P())
		q.write(dhttest.Frame(wire.TypePing, 0x90))
		require.ErrorIs(t, <-q.ended, wire.ErrNotMap)

		require.Equal(t, 2, tracer.opened)
		require.Equal(t, []proto.ResetCode{proto.ResetGone, proto.ResetNotMap}, tracer.ended)
		require.Equal(t, map[FrameResult]int{FrameHandled: 3, FrameDropped: 2, FrameFatal: 1}, tracer.frames)
	})
}
