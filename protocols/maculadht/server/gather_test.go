package server

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Who asks and does not read has no more gathered for it than is kept of a
// buffer, beside what is being written.
func TestGathersNoMoreThanIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveMem(t, LibP2P())
		account := s.handlers.Budget().Open(budget.SourceOfAddr(netip.MustParseAddr("192.0.2.1")))
		ours, theirs := net.Pipe()
		stream := &memStream{Conn: ours, reset: make(chan resetAt, 1)}
		ended := make(chan error, 1)
		go func() {
			ended <- s.handlers.Mux().Serve(t.Context(), stream, &Session{Dialect: LibP2P(), Account: account})
		}()
		go theirs.Write(bytes.Repeat(dhttest.Frames(t, &wire.Ping{}), 10_000)) // until the stream is reset
		synctest.Wait()
		held, _ := account.Usage()
		require.Greater(t, held.Memory, int64(gathered))
		require.LessOrEqual(t, held.Memory, int64(2*kept+4<<10), "two buffers, and the reader's")

		time.Sleep(proto.FrameTimeout)
		require.Error(t, <-ended)
		require.Equal(t, proto.ResetTimeout, (<-stream.reset).code)
		held, _ = account.Usage()
		require.Zero(t, held.Memory)
		account.Close()
		require.NoError(t, s.Close())
		require.NoError(t, <-s.ended)
	})
}

// One of many subscribers does not read: the others get all, at once.
func TestOneSlowSubscriberOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const subscribers, pushes = 100, 500
		s := serveMem(t, LibP2P())
		var all []*Peer
		subscribed := make(chan *Peer)
		require.NoError(t, s.handlers.Mux().Handle(wire.TypeSubscribe, func(p *Peer, _ wire.Frame) error {
			subscribed <- p
			return nil
		}))
		ctx, stop := context.WithCancel(t.Context())
		var serving, reading sync.WaitGroup
		var slow *memStream
		for i := range subscribers {
			ours, theirs := net.Pipe()
			stream := &memStream{Conn: ours, reset: make(chan resetAt, 1)}
			serving.Go(func() { _ = s.handlers.Mux().Serve(ctx, stream, &Session{Dialect: LibP2P()}) })
			_, err := theirs.Write(dhttest.Frame(wire.TypeSubscribe, 0x80))
			require.NoError(t, err)
			all = append(all, <-subscribed)
			if i == 0 {
				slow = stream
				continue
			}
			reading.Go(func() {
				in := wire.NewReader(theirs)
				for n := range pushes {
					f, err := in.Next()
					if err != nil || f.Payload[1] != byte(n) {
						t.Errorf("push %d: %v", n, err)
						return
					}
				}
			})
		}
		started := time.Now()
		for n := range pushes {
			frame := dhttest.Frame(wire.TypePublish, append([]byte{0x81, byte(n)}, make([]byte, 10_000)...)...)
			for _, p := range all {
				require.NoError(t, p.Push(frame))
			}
			synctest.Wait() // those that read keep up
		}
		reading.Wait()
		require.Equal(t, started, time.Now())
		queued := uint64(s.handlers.Mux().limits.Queue / (10_000 + 64))
		require.InDelta(t, pushes-queued, s.handlers.Mux().Stats().PushesDropped, 5, "all of them the slow one's")
		require.Equal(t, proto.ResetTimeout, (<-slow.reset).code)
		require.Equal(t, proto.FrameTimeout, time.Since(started))
		stop()
		serving.Wait()
		require.NoError(t, s.Close())
		require.NoError(t, <-s.ended)
	})
}

// What an outbox gathers, and keeps of a buffer, in bytes.
const (
	gathered = 48 << 10
	kept     = 64 << 10

	firstBytes = 4 << 10 // what each stream gets while there is any room at all
)
