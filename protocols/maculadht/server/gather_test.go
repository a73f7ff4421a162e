package server_test

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
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Who asks and does not read has no more gathered for it than is kept of a
// buffer, beside what is being written.
func TestGathersNoMoreThanIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t)
		account := s.Mux.Budget().Open(budget.SourceOfAddr(netip.MustParseAddr("192.0.2.1")))
		ours, theirs := net.Pipe()
		stream := servertest.NewStream(ours)
		ended := make(chan error, 1)
		go func() {
			ended <- s.Mux.Serve(t.Context(), stream, &server.Session{Dialect: server.LibP2P(), Account: account})
		}()
		go theirs.Write(bytes.Repeat(dhttest.Frames(t, &wire.Ping{}), 10_000)) // until the stream is reset
		synctest.Wait()
		held, _ := account.Usage()
		require.Greater(t, held.Memory, int64(gathered))
		require.LessOrEqual(t, held.Memory, int64(2*kept+4<<10), "two buffers, and the reader's")

		time.Sleep(proto.FrameTimeout)
		require.Error(t, <-ended)
		require.Equal(t, proto.ResetTimeout, (<-stream.Resets).Code)
		held, _ = account.Usage()
		require.Zero(t, held.Memory)
		account.Close()
	})
}

// One of many subscribers does not read: the others get all, at once.
func TestOneSlowSubscriberOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const subscribers, pushes = 100, 500
		s := newRig(t)
		var all []*server.Peer
		subscribed := make(chan *server.Peer)
		require.NoError(t, s.Mux.Handle(wire.TypeSubscribe, func(p *server.Peer, _ framing.Frame) error {
			subscribed <- p
			return nil
		}))
		ctx, stop := context.WithCancel(t.Context())
		var serving, reading sync.WaitGroup
		var slow *servertest.Stream
		for i := range subscribers {
			ours, theirs := net.Pipe()
			stream := servertest.NewStream(ours)
			serving.Go(func() { _ = s.Mux.Serve(ctx, stream, &server.Session{Dialect: server.LibP2P()}) })
			_, err := theirs.Write(dhttest.Frame(wire.TypeSubscribe, 0x80))
			require.NoError(t, err)
			all = append(all, <-subscribed)
			if i == 0 {
				slow = stream
				continue
			}
			reading.Go(func() {
				in := framing.NewReader(theirs)
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
		queued := uint64(s.Mux.Limits().Queue / (10_000 + 64))
		require.InDelta(t, pushes-queued, s.Mux.Stats().PushesDropped, 5, "all of them the slow one's")
		require.Equal(t, proto.ResetTimeout, (<-slow.Resets).Code)
		require.Equal(t, proto.FrameTimeout, time.Since(started))
		stop()
		serving.Wait()
	})
}

// What an outbox gathers, and keeps of a buffer, in bytes.
const (
	gathered = 48 << 10
	kept     = 64 << 10

	firstBytes = 4 << 10 // what each stream gets while there is any room at all
)
