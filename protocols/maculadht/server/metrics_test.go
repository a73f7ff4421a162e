package server_test

import (
	"encoding/binary"
	"sync"
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

// fakeTracer counts.
type fakeTracer struct {
	mu      sync.Mutex
	opened  int
	ended   []proto.ResetCode
	frames  map[server.FrameResult]int
	dropped map[server.DropReason]int
}

func newFakeTracer() *fakeTracer {
	return &fakeTracer{frames: make(map[server.FrameResult]int), dropped: make(map[server.DropReason]int)}
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

func (f *fakeTracer) FrameReceived(_ string, _ wire.Type, r server.FrameResult, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frames[r]++
}

func (f *fakeTracer) PushDropped(why server.DropReason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped[why]++
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer := newFakeTracer()
		r := newRig(t, server.WithMetricsTracer(tracer))
		p := r.serve(server.LibP2P())
		p.Send(dhttest.Frames(t, &wire.Ping{}))
		p.Next()
		p.Send(dhttest.Frame(0xee))
		p.Send(dhttest.Frames(t, &wire.Publish{Topic: "t"}))
		p.RequireEnd()
		q := r.serve(server.LibP2P())
		q.Send(dhttest.Frame(wire.TypePing, 0x90))
		require.ErrorIs(t, <-q.Ended, wire.ErrNotMap)

		require.Equal(t, 2, tracer.opened)
		require.Equal(t, []proto.ResetCode{proto.ResetGone, proto.ResetNotMap}, tracer.ended)
		require.Equal(t, map[server.FrameResult]int{server.FrameHandled: 3, server.FrameDropped: 2, server.FrameFatal: 1}, tracer.frames)
	})
}

// publication is a frame of n bytes in all, with a number.
func publication(number uint32, n int) []byte {
	payload := make([]byte, n-framing.HeaderSize)
	binary.BigEndian.PutUint32(payload, number)
	return dhttest.Frame(wire.TypePublish, payload...)
}

// busyTracer uses the peer and its Mux when it is told of what was dropped.
type busyTracer struct {
	*fakeTracer

	use func()
}

func (b *busyTracer) PushDropped(why server.DropReason) {
	b.use()
	b.fakeTracer.PushDropped(why)
}

func TestTracerMayUseThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer := &busyTracer{fakeTracer: newFakeTracer()}
		r := newRig(t, server.WithMetricsTracer(tracer))
		p := r.serve(server.LibP2P())
		again := true
		tracer.use = func() {
			_ = r.Mux.Stats()
			if again {
				again = false
				_ = p.Peer.Push(publication(0, 100))
			}
		}
		pushed := make(chan struct{})
		go func() {
			defer close(pushed)
			for n := range uint32(10) {
				_ = p.Peer.Push(publication(n, 100<<10)) // some have no room
			}
		}()
		select {
		case <-pushed:
		case <-time.After(time.Hour):
			t.Fatal("a push does not return")
		}
		p.Shutdown()
		require.Error(t, <-p.Ended)
		require.Positive(t, tracer.dropped[server.DropSlow])
		require.Positive(t, tracer.dropped[server.DropEnded])
		r.RequireNothingHeld()
	})
}
