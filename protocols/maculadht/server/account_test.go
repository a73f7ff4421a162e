package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// talk is a stream in memory of which a test has both ends: as the other end it
// writes and reads, and it holds the Peer.
type talk struct {
	*served

	peer    *Peer
	account *budget.Account
}

// openTalk serves a stream whose first frame shows the Peer. Defaults that a test
// changes are in limits and session.
func openTalk(t *testing.T, change func(*Limits, *Session)) *talk {
	t.Helper()
	limits := DefaultLimits()
	session := &Session{Dialect: Erlang()}
	if change != nil {
		change(&limits, session)
	}
	contacts, err := routing.NewServer(routing.ID{})
	require.NoError(t, err)
	h, err := New(contacts, WithLimits(limits))
	require.NoError(t, err)
	session.Account = h.Budget().Open(budget.SourceOfAddr(netip.MustParseAddr("192.0.2.1")))
	peers := make(chan *Peer, 1)
	mux := h.Mux().With(wire.TypeGossipPush, func(p *Peer, _ wire.Frame) error { peers <- p; return nil })
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	s := &served{
		Conn: theirs, t: t, in: wire.NewReader(theirs), handlers: h, started: time.Now(),
		stream: &memStream{Conn: ours, reset: make(chan resetAt, 1)}, shutdown: cancel, ended: make(chan error, 1),
	}
	go func() {
		err := mux.Serve(ctx, s.stream, session)
		cancel()
		s.ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		theirs.Close()
		require.NoError(t, contacts.Close())
	})
	s.write(dhttest.Frame(wire.TypeGossipPush, 0x80))
	return &talk{served: s, peer: <-peers, account: session.Account}
}

// end ends the stream and requires that nothing is held for it any more.
func (k *talk) end() {
	k.t.Helper()
	k.Close()
	<-k.ended
	k.requireNothingHeld()
}

func (k *talk) requireNothingHeld() {
	k.t.Helper()
	held, _ := k.account.Usage()
	require.Zero(k.t, held.Memory, "bytes of the account")
}

func (k *talk) next() wire.Message {
	k.t.Helper()
	f, err := k.in.Next()
	require.NoError(k.t, err)
	m, err := f.Decode()
	require.NoError(k.t, err)
	return m
}

// pushed returns the n-th frame that somebody pushes.
func pushed(t *testing.T, who, n, size int) []byte {
	payload := make([]byte, size)
	return dhttest.Frames(t, &wire.Publish{Topic: fmt.Sprintf("%d/%d", who, n), Payload: payload})
}

// What is pushed to a peer that does not read drops its oldest; answers do not
// suffer, and who takes nothing for 10 s is cut off.
func TestPushToAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, nil)
		const size, pushes = 10_000, 200
		for n := range pushes {
			require.NoError(t, k.peer.Push(pushed(t, 0, n, size)))
			synctest.Wait()
			held, _ := k.account.Usage()
			require.LessOrEqual(t, held.Memory, int64(DefaultLimits().Queue+64<<10), "what waits is bounded")
		}
		require.Greater(t, k.handlers.Mux().Stats().PushesDropped, uint64(150))
		time.Sleep(proto.FrameTimeout)
		k.requireReset(proto.ResetTimeout, proto.FrameTimeout)
		k.requireNothingHeld()
		require.ErrorIs(t, k.peer.Push(pushed(t, 0, 0, 1)), proto.ErrClosed)
		require.Equal(t, uint64(pushes), k.handlers.Mux().Stats().PushesDropped, "all of them, in the end")
	})
}

// An asker that is slow and steady gets all of its answers, though together they
// are far above what may wait.
func TestSlowReaderGetsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, nil)
		value := dhttest.Value(erlangID("me"), wire.Pair{Key: "filler", Value: wire.RawBytes(make([]byte, 60_000))})
		k.handlers.HandleStore(t.Context(), &wire.Store{Key: []byte("k"), Value: value}, Origin{}, Erlang())
		k.peer.connected.Store(true) // the answer need not fit a packet
		const questions = 50
		go func() {
			for range questions {
				k.Write(dhttest.Frames(t, &wire.FindValue{Key: []byte("k")}))
			}
		}()
		for range questions {
			time.Sleep(5 * time.Second)
			f, err := k.in.Next()
			require.NoError(t, err)
			var m wire.FindValueReply
			require.NoError(t, m.Decode(f.Payload))
			require.Len(t, m.Values, 1)
			held, _ := k.account.Usage()
			require.LessOrEqual(t, held.Memory, int64(3*DefaultLimits().Queue))
		}
		k.end()
	})
}

// With its account full a peer is answered busy where there is a word for it, and
// served again when there is room.
func TestFullAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, func(_ *Limits, s *Session) { s.Dialect = LibP2P() })
		require.IsType(t, &wire.Pong{}, k.ask(&wire.Ping{})) // it has its first buffers
		all := k.handlers.Budget().Limits().Source.Memory
		held, _ := k.account.Usage()
		rest := int(all - held.Memory)
		require.NoError(t, k.account.ReserveMemory(rest, 255))
		target := wire.FindNode{Target: make([]byte, 32)}
		for i := range 20 { // so that the answer needs more than there is
			id := routing.ID{byte(i), 1}
			require.NoError(t, k.handlers.Routing().Admit(routing.Contact{ID: id, NodeID: id[:], Peer: peer.ID(fmt.Sprint("p", i)), Endpoint: fmt.Sprintf("https://192.0.2.%d:9443", i), Verified: true}))
		}
		require.Equal(t, wire.ReasonBusy, k.ask(&target).(*wire.FindNodeReply).Reason)
		k.account.ReleaseMemory(rest)
		require.Len(t, k.ask(&target).(*wire.FindNodeReply).Nodes, 20)
		k.end()
	})
}

// The answer that says busy waits for the buffer that is being written, whatever
// was written before.
func TestBusyWaitsForABuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openTalk(t, nil)
		require.IsType(t, &wire.Pong{}, k.ask(&wire.Ping{}))
		synctest.Wait()
		held, _ := k.account.Usage()
		rest := int(k.handlers.Budget().Limits().Source.Memory - held.Memory)
		require.NoError(t, k.account.ReserveMemory(rest, 255))
		k.write(dhttest.Frames(t, &wire.Ping{}))
		synctest.Wait() // its answer is being written
		k.write(dhttest.Frames(t, &wire.FindNode{Target: make([]byte, 32)}))
		time.Sleep(proto.FrameTimeout / 2)
		require.IsType(t, &wire.Pong{}, k.next())
		require.Equal(t, wire.ReasonBusy, k.next().(*wire.FindNodeReply).Reason)
		k.account.ReleaseMemory(rest)
		k.end()
	})
}
