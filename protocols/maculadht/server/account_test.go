package server_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// pushed returns the n-th frame that somebody pushes.
func pushed(t *testing.T, who, n, size int) []byte {
	payload := wire.RawBytes(make([]byte, size))
	return dhttest.Frames(t, &wire.Publish{Topic: fmt.Sprintf("%d/%d", who, n), Payload: payload})
}

// What is pushed to a peer that does not read drops its oldest; answers do not
// suffer, and who takes nothing for 10 s is cut off.
func TestPushToAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, nil)
		const size, pushes = 10_000, 200
		for n := range pushes {
			require.NoError(t, k.Peer.Push(pushed(t, 0, n, size)))
			synctest.Wait()
			held, _ := k.Account.Usage()
			require.LessOrEqual(t, held.Memory, int64(server.DefaultLimits().Queue+64<<10), "what waits is bounded")
		}
		require.Greater(t, k.Mux.Stats().PushesDropped, uint64(150))
		time.Sleep(proto.FrameTimeout)
		k.RequireReset(proto.ResetTimeout, proto.FrameTimeout)
		k.RequireNothingHeld()
		require.ErrorIs(t, k.Peer.Push(pushed(t, 0, 0, 1)), proto.ErrClosed)
		require.Equal(t, uint64(pushes), k.Mux.Stats().PushesDropped, "all of them, in the end")
	})
}

// An asker that is slow and steady gets all of its answers, though together they
// are far above what may wait.
func TestSlowReaderGetsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, nil)
		value := dhttest.Value(servertest.ErlangID("me"), wire.Pair{Key: "filler", Value: wire.RawBytes(make([]byte, 60_000))})
		k.handlers.HandleStore(t.Context(), &wire.Store{Key: []byte("k"), Value: value}, dht.Origin{}, server.Erlang())
		k.Connect("n") // the answer need not fit a packet
		const questions = 50
		go func() {
			for range questions {
				k.Write(dhttest.Frames(t, &wire.FindValue{Key: []byte("k")}))
			}
		}()
		for range questions {
			time.Sleep(5 * time.Second)
			f, err := k.In.Next()
			require.NoError(t, err)
			var m wire.FindValueReply
			require.NoError(t, m.Decode(f.Payload))
			require.Len(t, m.Values, 1)
			held, _ := k.Account.Usage()
			require.LessOrEqual(t, held.Memory, int64(3*server.DefaultLimits().Queue))
		}
		k.end()
	})
}

// With its account full a peer is answered busy where there is a word for it, and
// served again when there is room.
func TestFullAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, func(s *server.Session) { s.Dialect = server.LibP2P() })
		require.IsType(t, &wire.Pong{}, k.Ask(&wire.Ping{})) // it has its first buffers
		all := k.Mux.Budget().Limits().Source.Memory
		held, _ := k.Account.Usage()
		rest := int(all - held.Memory)
		require.NoError(t, k.Account.ReserveMemory(rest, 255))
		target := wire.FindNode{Target: make([]byte, 32)}
		for i := range 20 { // so that the answer needs more than there is
			id := routing.ID{byte(i), 1}
			require.NoError(t, k.handlers.Routing().Admit(routing.Contact{ID: id, NodeID: id[:], Peer: peer.ID(fmt.Sprint("p", i)), Endpoint: fmt.Sprintf("https://192.0.2.%d:9443", i), Verified: true}))
		}
		require.Equal(t, wire.ReasonBusy, k.Ask(&target).(*wire.FindNodeReply).Reason)
		k.Account.ReleaseMemory(rest)
		require.Len(t, k.Ask(&target).(*wire.FindNodeReply).Nodes, 20)
		k.end()
	})
}

// The answer that says busy waits for the buffer that is being written, whatever
// was written before.
func TestBusyWaitsForABuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, nil)
		require.IsType(t, &wire.Pong{}, k.Ask(&wire.Ping{}))
		synctest.Wait()
		held, _ := k.Account.Usage()
		rest := int(k.Mux.Budget().Limits().Source.Memory - held.Memory)
		require.NoError(t, k.Account.ReserveMemory(rest, 255))
		k.Send(dhttest.Frames(t, &wire.Ping{}))
		synctest.Wait() // its answer is being written
		k.Send(dhttest.Frames(t, &wire.FindNode{Target: make([]byte, 32)}))
		time.Sleep(proto.FrameTimeout / 2)
		require.IsType(t, &wire.Pong{}, k.Message())
		require.Equal(t, wire.ReasonBusy, k.Message().(*wire.FindNodeReply).Reason)
		k.Account.ReleaseMemory(rest)
		k.end()
	})
}

// What is held is given back once, by whom ever and when ever.
func TestLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, nil)
		used := func() int64 {
			held, _ := k.Account.Usage()
			return held.Memory
		}
		before := used()
		require.True(t, k.Peer.Hold(1000))
		require.Equal(t, before+1000, used())
		for range 5 {
			go k.Peer.LetGo(100)
		}
		synctest.Wait()
		require.Equal(t, before+500, used())
		k.RequireEnd()
		k.RequireNothingHeld()
		k.Peer.LetGo(500)
		k.RequireNothingHeld()
	})
}
